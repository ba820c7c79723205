package devlab

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/frontend"
	"github.com/labctl/labctl/test/kafka/apache"
)

// The browser test, with the chat on Apache Kafka.
func TestBrowsersOnApacheKafka(t *testing.T) {
	if !apache.There() {
		t.Skip("there is none; make test-kafka brings one")
	}
	require.NoError(t, frontend.Built())
	w := newWorld(t, "gateway")
	front, err := newFront(units(), w.urls, frontend.Handler())
	require.NoError(t, err)
	srv := httptest.NewServer(front)
	t.Cleanup(srv.Close)
	w.lab.origins = []string{srv.URL} // which the gateway asks for when it starts
	w.start("gateway")
	w.ready()

	// With the flags of labctl, so that most of it is compiled already.
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "CGO_ENABLED=0 go test $(tools/flags.sh) -vet=off -count=1 ./test/browser")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "BASE_URL="+srv.URL)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	require.NoError(t, cmd.Run())
}
