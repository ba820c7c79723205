//go:build !race

package devlab

// chatRate is how many messages per second people say to each other in a lab with a shadow.
const chatRate = 300
