package engine_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/engine"
)

// asker counts how often a program is asked.
type asker struct {
	version string
	err     error
	times   int
}

func (a *asker) ask() (string, error) {
	a.times++
	return a.version, a.err
}

func TestAnEngineIsAskedOnceInItsLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tofu")
	build := func(text string) {
		module := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(module, "cmd", "tofu"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(module, "go.mod"), []byte("module github.com/opentofu/opentofu\n\ngo 1.24\n"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(module, "cmd", "tofu", "main.go"), []byte("package main\n\nfunc main() { println("+text+") }\n"), 0o600))
		cmd := exec.Command("go", "build", "-o", path, "./cmd/tofu")
		cmd.Dir = module
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	build("1")
	memory := engine.Memory(filepath.Join(t.TempDir(), "new", "engines.json"))
	check := func(a *asker, want string, times int) {
		t.Helper()
		got, fixed, err := memory.Version(path, a.ask)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.True(t, fixed)
		require.Equal(t, times, a.times)
	}
	check(&asker{version: "1.9.0"}, "1.9.0", 1)
	check(&asker{version: "other"}, "1.9.0", 0)

	link := filepath.Join(t.TempDir(), "terraform")
	require.NoError(t, os.Symlink(path, link))
	a := &asker{version: "other"}
	got, _, err := memory.Version(link, a.ask)
	require.NoError(t, err)
	require.Equal(t, "1.9.0", got, "it is the same program by another name")

	build("22")
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
	check(&asker{version: "1.10.0"}, "1.10.0", 1)

	require.NoError(t, os.WriteFile(string(memory), []byte("rubbish"), 0o600))
	check(&asker{version: "1.10.1"}, "1.10.1", 1)
	check(&asker{}, "1.10.1", 0)
	memory = ""
	check(&asker{version: "1.10.2"}, "1.10.2", 1)
}

func TestAShimIsAskedEachTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "terraform")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700)) //nolint:gosec // a program
	memory := engine.Memory(filepath.Join(t.TempDir(), "engines.json"))
	a := &asker{version: "1.9.0"}
	for range 2 {
		got, fixed, err := memory.Version(path, a.ask)
		require.NoError(t, err)
		require.Equal(t, "1.9.0", got)
		require.False(t, fixed)
	}
	require.Equal(t, 2, a.times)
	require.NoFileExists(t, string(memory))

	a.err = errors.New("no such version")
	_, _, err := memory.Version(path, a.ask)
	require.ErrorIs(t, err, a.err)
	_, _, err = memory.Version(path+"-gone", a.ask)
	require.ErrorIs(t, err, os.ErrNotExist)
}
