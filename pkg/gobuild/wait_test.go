package gobuild_test

import "time"

// How long a condition may take to come true on a busy machine, and how often it is looked at.
const (
	waitLimit = 30 * time.Second
	waitPoll  = 20 * time.Millisecond
)
