package devlab

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/gateway"
)

// TestOpenAPIOfGateway gets every status of docs/openapi/gateway.yaml from a running gateway, and finds that it has no other route,
// status, parameter or field.
func TestOpenAPIOfGateway(t *testing.T) {
	w := newWorld(t)
	const many = 40
	url := w.startGateway("gateway-2", func(o *gateway.Config) { o.AddressRate.PerSecond, o.AddressRate.Burst = 1e-6, many })
	alice := w.user("alice")
	c := w.contract("gateway")
	c.address = url // a proxy keeps the header Upgrade to itself
	c.metrics = w.urls[health("gateway-2")] + "/metrics"
	shake := func(change ...string) http.Header {
		h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
		for i := 0; i < len(change); i += 2 {
			h[change[i]] = []string{change[i+1]}
		}
		return h
	}
	socket := try{what: "GET /ws 101", path: "/ws", header: shake()}
	c.get(
		socket,
		try{what: "GET /ws 403", path: socket.path, header: shake("Origin", "https://evil.example")},
		try{what: "GET /ws 426", path: socket.path},
		try{what: "GET /ws 426", path: socket.path, header: shake("Connection", "keep-alive")},
		try{what: "GET /ws 400", path: socket.path, header: shake("Sec-Websocket-Version", "12")},
	)
	c.refuses(socket)
	for i, status := 0, ""; status != "429"; i++ {
		require.Less(t, i, many)
		var err error
		status, err = c.ask(socket)
		require.NoError(t, err)
	}
	c.get(try{what: "GET /ws 429", path: socket.path, header: shake()})
	c.rest(w.access(alice))
	// A socket is counted when it is closed.
	c.complete()
}

// A gateway that has not had auth's keys yet knows nobody, and has its clients come back.
func TestAGatewayWithoutKeys(t *testing.T) {
	w := newWorld(t, "gateway")
	ctx := t.Context()
	alice := w.user("alice")
	access := w.access(alice)
	w.parts["auth"].stop()
	w.start("gateway")
	w.ready("auth")
	ws, err := client.New(w.urls["gateway"]).Dial(ctx, access, "")
	require.NoError(t, err)
	frames, code := closing(t, ws)
	require.Empty(t, frames)
	require.EqualValues(t, 1013, code)
	w.start("auth")
	w.ready()
	w.device(alice).send(client.DirectID(alice.User.ID, w.user("bob").User.ID), "in again")
}
