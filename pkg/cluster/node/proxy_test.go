package node

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/freeport"
)

func TestForwardPassesBytesAndHalfClose(t *testing.T) {
	target, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer target.Close()
	go func() {
		conn, err := target.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		// Answers only after the client's end: a proxy that does not pass it on would hang here.
		b, err := io.ReadAll(conn)
		if err == nil {
			_, _ = conn.Write(append([]byte("got "), b...)) // the client checks what arrives
		}
	}()
	front, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer front.Close()
	go forward(front, target.Addr().String())

	conn, err := net.Dial("tcp4", front.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "got hello", string(answer))
}

func TestForwardClosesWhereNothingListens(t *testing.T) {
	address := freeport.Of(t).Addr()
	front, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer front.Close()
	go forward(front, address)
	conn, err := net.Dial("tcp4", front.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
}
