package cluster_test

import (
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cluster"
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
			b := &cluster.Builder{Root: root, CacheDir: cache} // one of another labctl
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
