//go:build race

package devlab

// chatRate is how many messages per second people say to each other in a lab with a shadow. The database of a test is ten
// times slower under the race detector. Beyond what it takes, requests fail here and there, and no version is to blame.
const chatRate = 40
