// Package requestid names requests, so that the lines about one are found in the logs of all that had a part in it.
package requestid

import (
	"net/http"
	"strconv"

	"github.com/google/uuid"
)

// Header carries the id, from the ingress to a service, from one service to another, and back to the client.
const Header = "X-Request-Id"

// Of gives the id that a request came with, if it is a well-formed one, or a new one: 8 to 64 of a-z A-Z 0-9 + -, as the
// ingress has them. So what a client writes can't forge a line of a log, nor fill one.
func Of(r *http.Request) string {
	if id := r.Header.Get(Header); isWellFormed(id) {
		return id
	}
	return uuid.NewString()
}

// Part gives the id of the nth part of a request that goes on: a frame of a socket. An id that would be too long then loses its end.
func Part(id string, n int64) string {
	number := "-" + strconv.FormatInt(n, 10)
	return id[:min(len(id), longest-len(number))] + number
}

// longest is how long an id may be.
const longest = 64

func isWellFormed(id string) bool {
	if len(id) < 8 || len(id) > longest {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '+' {
			return false
		}
	}
	return true
}
