package devlab

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/gateway"
)

// TestOpenAPIOfGateway gets every status of docs/openapi/gateway.yaml from a running gateway, and finds that it has no other route,
// status, parameter or field.
func TestOpenAPIOfGateway(t *testing.T) {
	w := newWorld(t, "gateway")
	ctx := t.Context()
	const many = 40
	var ahead clock
	w.parts["gateway"].unit.run = func(ctx context.Context, getenv func(string) string, ln net.Listener, log *slog.Logger) error {
		c, err := gateway.ConfigFromEnv(getenv)
		if err != nil {
			return err
		}
		c.Listener, c.Log, c.Now = ln, log, ahead.now
		c.UserRate.PerSecond, c.UserRate.Burst = 1e-6, many
		return gateway.Run(ctx, c)
	}
	alice, busy := w.user("alice"), w.user("busy")
	hers, err := alice.AccessToken(ctx)
	require.NoError(t, err)

	// A gateway that has not had auth's keys yet knows nobody.
	w.parts["auth"].stop()
	w.start("gateway")
	w.ready("auth")
	c := w.contract("gateway")
	c.address = w.urls["gateway"] // a proxy keeps the header Upgrade to itself
	ticket := try{what: "POST /api/ws/ticket 503", bearer: hers}
	c.get(ticket)
	w.start("auth")
	w.ready()
	ahead.forward(3 * time.Second) // keys are not asked for again at once

	ticket.what = "POST /api/ws/ticket 200"
	c.get(ticket)
	shake := func(change ...string) http.Header {
		h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
		for i := 0; i < len(change); i += 2 {
			h[change[i]] = []string{change[i+1]}
		}
		return h
	}
	with := func(s *client.Session) string { return "/ws?ticket=" + w.ticket(s) }
	socket := try{what: "GET /ws 101", path: with(alice), header: shake()}
	c.get(
		try{what: "GET /ws 403", path: socket.path, header: shake("Origin", "https://evil.example")},
		try{what: "GET /ws 426", path: socket.path},
		try{what: "GET /ws 426", path: socket.path, header: shake("Connection", "keep-alive")},
		try{what: "GET /ws 400", path: socket.path, header: shake("Sec-Websocket-Version", "12")},
	)
	c.refuses(socket)
	c.get(socket) // nothing before has used the ticket up
	c.get(try{what: "GET /ws 401", path: socket.path, header: shake()})

	late := with(busy)
	for err == nil {
		_, err = busy.Ticket(ctx)
	}
	require.True(t, client.IsCode(err, "busy"), err)
	tired, err := busy.AccessToken(ctx)
	require.NoError(t, err)
	c.get(
		try{what: "POST /api/ws/ticket 429", bearer: tired},
		try{what: "GET /ws 429", path: late, header: shake()},
	)
	c.rest(hers)

	// A ticket is used up in the database.
	socket.what, socket.path = "GET /ws 503", with(alice)
	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	c.get(socket)
	// A socket is counted when it is closed.
	w.metric("gateway", `http_requests_total{method="GET",route="GET /ws",status="101"} 1`)
	c.complete()
}
