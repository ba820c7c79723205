package node

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrAbandoned says that labctl ended before it had recorded the node's process.
var ErrAbandoned = errors.New("labctl ended while it started the node")

// StartByte is what labctl writes into the gate.
const StartByte = 's'

// AwaitStart waits at the gate, the reading end of a pipe. labctl writes StartByte into it once it has recorded the process
// and put it into its control groups. Where labctl dies before, the pipe ends, and so must the node: nobody knows it.
func AwaitStart(gate *os.File) error {
	defer gate.Close()
	b := make([]byte, 1)
	switch _, err := io.ReadFull(gate, b); {
	case errors.Is(err, io.EOF):
		return ErrAbandoned
	case err != nil:
		return fmt.Errorf("wait for labctl: %w", err)
	case b[0] != StartByte:
		return fmt.Errorf("wait for labctl: it says %q", b)
	}
	return nil
}
