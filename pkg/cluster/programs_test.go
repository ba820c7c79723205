package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
)

func TestAProgramIsBuiltOnceForAllThatWaitForIt(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	cache := t.TempDir()
	var builds atomic.Int32
	var both sync.WaitGroup
	paths := make([]string, 2)
	for i := range paths {
		both.Go(func() {
			b := &Builder{Root: root, CacheDir: cache} // one of another labctl
			path, err := b.Program(t.Context(), "node", func(e event.Event) {
				if strings.HasPrefix(e.Message, "built ") {
					builds.Add(1)
				}
			})
			if err != nil {
				t.Error(err)
			}
			paths[i] = path
		})
	}
	both.Wait()
	require.Equal(t, paths[0], paths[1])
	require.FileExists(t, paths[0])
	require.EqualValues(t, 1, builds.Load())
}

func TestAFailedBuildPushesNoOtherOut(t *testing.T) {
	family := filepath.Join(t.TempDir(), "node")
	for i, build := range []string{"old", "before", "in-use"} {
		path := filepath.Join(family, build, "node")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o755))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Unix(int64(1000+i), 0)))
	}
	require.NoError(t, os.Mkdir(filepath.Join(family, "failed"), 0o755))
	require.NoError(t, prune(family, "in-use"))
	left, err := filepath.Glob(filepath.Join(family, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(family, "before"), filepath.Join(family, "in-use")}, left)
}

func TestHelmSaysTheVersionThatItIs(t *testing.T) {
	b, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	require.Contains(t, string(b), "\thelm.sh/helm/v3 "+helmVersion+"\n")
}
