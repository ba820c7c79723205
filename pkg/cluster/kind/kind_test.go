package kind

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cluster/datadir"
	"github.com/labctl/labctl/pkg/freeport"
)

// options are valid ones in a new directory, with ports that nobody else gets.
func options(t *testing.T) Options {
	t.Helper()
	o := Options{Name: "lab", Dir: filepath.Join(t.TempDir(), "cluster")}
	for _, port := range []*int{&o.APIPort, &o.HTTPPort, &o.RegistryPort} {
		*port = freeport.Of(t).Port
	}
	return o
}

func TestATakenPortIsNamed(t *testing.T) {
	o := options(t)
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", o.HTTPPort))
	require.NoError(t, err)
	defer l.Close()
	// An engine that works and has no node.
	program(t, "docker", "case \"$1\" in info) echo '{}' ;; ps) ;; *) echo \"unexpected: $*\" >&2; exit 1 ;; esac\n")

	holder := func(port int) string { return fmt.Sprintf("nginx (process %d)", port) }
	err = (&Cluster{Holder: holder}).Ensure(t.Context(), o, nil)
	taken := new(PortTakenError)
	require.ErrorAs(t, err, &taken)
	require.Equal(t, PortTakenError{Port: o.HTTPPort, Use: "the chat (http_port)", By: holder(o.HTTPPort)}, *taken)
	require.NoFileExists(t, recordPath(o.Dir), "something was begun")

	err = (&Cluster{}).Ensure(t.Context(), o, nil)
	require.ErrorContains(t, err, fmt.Sprintf("port %d on 127.0.0.1, which the lab needs for the chat (http_port), is taken by another process", o.HTTPPort))
}

func TestWhatIsNotThereIsGone(t *testing.T) {
	o := options(t)
	t.Setenv("PATH", t.TempDir())
	_, err := (&Cluster{}).Read(t.Context(), o)
	require.ErrorIs(t, err, ErrGone)
	require.NoError(t, (&Cluster{}).Destroy(t.Context(), o, nil))
}

func TestAClusterWhoseNodeIsGoneIsGone(t *testing.T) {
	o := made(t, record{Container: "c0ffee"})
	program(t, "docker", "[ \"$1\" = ps ]\n")
	_, err := (&Cluster{}).Read(t.Context(), o)
	require.ErrorIs(t, err, ErrGone)
}

// made writes the record of a cluster that was made with the options that it gives.
func made(t *testing.T, r record) Options {
	t.Helper()
	o := options(t)
	require.NoError(t, datadir.Claim(o.Dir))
	r.Engine, r.APIPort, r.HTTPPort, r.RegistryPort = "docker", o.APIPort, o.HTTPPort, o.RegistryPort
	require.NoError(t, r.write(o.Dir))
	return o
}

// engineWithNode is an engine that has the cluster's node in a state.
func engineWithNode(t *testing.T, id, status string) {
	t.Helper()
	program(t, "docker", fmt.Sprintf(`case "$1" in
ps) echo node ;;
container) echo '%s %s "2026-11-21T03:00:00.123456789Z"' ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
`, id, status))
}

func TestReadSaysWhyAClusterIsNotHealthy(t *testing.T) {
	t.Run("half-made", func(t *testing.T) {
		o := made(t, record{})
		engineWithNode(t, "c0ffee", "running")
		s, err := (&Cluster{}).Read(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, State{Reason: "it was not finished"}, s)
	})
	t.Run("another container", func(t *testing.T) {
		o := made(t, record{Container: "abad1dea"})
		engineWithNode(t, "c0ffee", "running")
		s, err := (&Cluster{}).Read(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, State{Reason: "it was not finished"}, s)
	})
	t.Run("stopped", func(t *testing.T) {
		o := made(t, record{Container: "c0ffee"})
		require.NoError(t, os.WriteFile(KubeconfigPath(o.Dir), []byte("{}"), 0o600))
		engineWithNode(t, "c0ffee", "exited")
		s, err := (&Cluster{}).Read(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, State{Kubeconfig: "{}", Reason: "its node, the container " + nodeName(o) + ", is exited"}, s)
	})
	t.Run("no kubeconfig", func(t *testing.T) {
		o := made(t, record{Container: "c0ffee"})
		engineWithNode(t, "c0ffee", "running")
		s, err := (&Cluster{}).Read(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, State{Reason: "its kubeconfig is gone"}, s)
	})
	t.Run("the engine does not answer", func(t *testing.T) {
		o := made(t, record{Container: "c0ffee"})
		program(t, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1\n")
		s, err := (&Cluster{}).Read(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, State{Reason: "look for the node " + nodeName(o) + ": docker ps: exit status 1: Cannot connect to the Docker daemon"}, s)
		require.ErrorContains(t, (&Cluster{}).Destroy(t.Context(), o, nil), "Cannot connect", "what cannot be removed must not be forgotten")
		require.FileExists(t, recordPath(o.Dir))
	})
}

func TestARecordThatNamesAnotherProgramIsRefused(t *testing.T) {
	o := options(t)
	require.NoError(t, os.MkdirAll(o.Dir, 0o700))
	require.NoError(t, os.WriteFile(recordPath(o.Dir), []byte(`{"engine":"rm"}`), 0o600))
	_, err := (&Cluster{}).Read(t.Context(), o)
	require.ErrorContains(t, err, `"rm" is no container engine`)
}

func TestWhatAClusterCannotBecome(t *testing.T) {
	o := Options{APIPort: 1, HTTPPort: 2, RegistryPort: 3}
	r := record{APIPort: 1, HTTPPort: 2, RegistryPort: 3, NodeImage: "kindest/node:v1.34.3"}
	require.NoError(t, r.fixed(o), "an image that is not named may be an older one")
	o.NodeImage = r.NodeImage
	require.NoError(t, r.fixed(o))
	o.NodeImage = "kindest/node:v1.35.0"
	require.ErrorIs(t, r.fixed(o), ErrFixed)
	require.ErrorContains(t, r.fixed(o), "kindest/node:v1.34.3 and kindest/node:v1.35.0 is wanted")
	o.NodeImage, o.RegistryPort = "", 4
	require.ErrorIs(t, r.fixed(o), ErrFixed)
	require.ErrorContains(t, r.fixed(o), "the image registry (registry_port) is 3 and 4 is wanted")
}
