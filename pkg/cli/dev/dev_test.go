package dev

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
)

func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	below := filepath.Join(dir, "a", "b")
	require.NoError(t, os.MkdirAll(below, 0o700))
	_, err := dataDir(&cli.Factory{WorkDir: below})
	require.ErrorIs(t, err, stack.ErrNoLab)
	_, err = dataDir(&cli.Factory{File: filepath.Join(dir, "lab.hcl")})
	require.ErrorIs(t, err, stack.ErrNoLab)

	// Broken stacks are no reason not to run the services.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lab.hcl"), []byte("broken {"), 0o600))
	for _, f := range []*cli.Factory{{WorkDir: below}, {File: filepath.Join(dir, "lab.hcl")}} {
		got, err := dataDir(f)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, ".lab", "dev"), got)
	}
}

func TestFlags(t *testing.T) {
	streams, _, _ := iostreams.Test()
	var got *Options
	cmd := NewCmdDev(&cli.Factory{IO: streams}, func(o *Options) error { got = o; return nil })
	cmd.SetArgs([]string{"--listen", "127.0.0.1:0", "--origin", "http://a,http://b", "--fresh", "--shadow", "messaging=.", "--shadow-tags", "a,b"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, Options{Factory: got.Factory, Listen: "127.0.0.1:0", Origins: []string{"http://a", "http://b"}, Fresh: true, Shadow: "messaging=.", Tags: []string{"a", "b"}}, *got)
}
