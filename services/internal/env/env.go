// Package env describes the environment variables by which services are configured.
package env

// Variable is one of them. docs/configuration.md is made of these, and a test in services holds them to what is read.
type Variable struct {
	Name string
	// Default counts where the variable is not set or empty. Where it is empty, Meaning says what that is.
	Default string
	// Form says what a value looks like, in Markdown.
	Form string
	// Meaning is for whoever runs the service, in Markdown.
	Meaning string
}
