package filelock_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/labctl/labctl/pkg/filelock"
	"github.com/stretchr/testify/require"
)

func TestTryTellsThatItIsHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "lock")
	first, err := filelock.Try(path)
	require.NoError(t, err)

	_, err = filelock.Try(path)
	require.ErrorIs(t, err, filelock.ErrHeld)

	first.Unlock()
	first.Unlock() // a second time does nothing
	second, err := filelock.Try(path)
	require.NoError(t, err)
	second.Unlock()
}

func TestWaitTakesOverFromTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := filelock.Try(path)
	require.NoError(t, err)

	told := 0
	second, err := filelock.Wait(context.Background(), path, func() { told++; first.Unlock() })
	require.NoError(t, err)
	defer second.Unlock()
	require.Equal(t, 1, told)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := filelock.Try(path)
	require.NoError(t, err)
	defer first.Unlock()

	ctx, cancel := context.WithCancel(context.Background())
	_, err = filelock.Wait(ctx, path, cancel)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, path)
}
