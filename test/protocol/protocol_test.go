package protocol

import (
	"os"
	"testing"

	"github.com/labctl/labctl/test/inprocess"
)

// TestProtocol runs against BASE_URL, or against a chat of its own in this process where BASE_URL is not set.
func TestProtocol(t *testing.T) {
	base := os.Getenv("BASE_URL")
	if base == "" {
		base = inprocess.Chat(t, nil)
	}
	Run(t, base)
}
