// Package mirror is the form in which a gateway hands a live socket to the comparer of its shadow. docs/protocol.md (§ 9) describes it.
package mirror

// Service is the service whose sockets are mirrored.
const Service = "gateway"

// Path is where a comparer takes sockets: for each a WebSocket, whose binary messages are its parts, in their order.
const Path = "/sockets"

// The first byte of a part says what the others are.
const (
	Text   byte = 't' // a text of the client's
	Binary byte = 'b' // a binary message of the client's
	Told   byte = 's' // frames as the gateway writes them to its client
	Gone   byte = 'g' // nothing: the client closed the socket or went away, so that the gateway did not decide how it ends
)
