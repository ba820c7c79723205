package stack

import "time"

// Process is a terraform at work on a stack.
type Process struct {
	PID     int       `json:"-"`
	Stack   string    `json:"stack"`
	Command string    `json:"command"` // "apply"
	Since   time.Time `json:"since"`
}
