package kafka

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// changed gives what a round would sync, relative to the directory.
func changed(t *testing.T, s *syncer) (names []string) {
	t.Helper()
	var paths []string
	require.NoError(t, s.look(s.dir, &paths))
	for _, p := range paths {
		name, err := filepath.Rel(s.dir, p)
		require.NoError(t, err)
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestSyncerFindsWhatHasChanged(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, errors.Join(err, f.Close()))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "partitions", "a-0"), 0o700))
	put("groups.log", "x")
	put("partitions/a-0/0.dat", "x")
	put("partitions/a-0/0.idx", "x")
	s := newSyncer(dir)
	require.Equal(t, []string{".", "groups.log", "partitions", "partitions/a-0", "partitions/a-0/0.dat"}, changed(t, s), "all that is there at first")
	require.Empty(t, changed(t, s))
	put("partitions/a-0/0.dat", "more")
	put("partitions/a-0/0.idx", "more")
	require.Equal(t, []string{"partitions/a-0/0.dat"}, changed(t, s))
	put("partitions/a-0/9.dat", "the next segment")
	require.Equal(t, []string{"partitions/a-0", "partitions/a-0/9.dat"}, changed(t, s))
	put("partitions/a-0/10.dat", "")
	require.Equal(t, []string{"partitions/a-0", "partitions/a-0/10.dat"}, changed(t, s))
	put("partitions/a-0/10.dat", "and the one after")
	require.Equal(t, []string{"partitions/a-0/10.dat"}, changed(t, s))
	put("new", "x")
	require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "groups.log")))
	require.Contains(t, changed(t, s), "groups.log", "another file of the same length")
	for _, name := range []string{"b-0", "b-a-0"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "partitions", name), 0o700))
		put("partitions/"+name+"/0.dat", "x")
	}
	passing := newSyncer(dir, "b")
	require.Contains(t, changed(t, passing), "partitions/b-a-0/0.dat")
	require.NotContains(t, changed(t, newSyncer(dir, "b")), "partitions/b-0/0.dat", "what passes is not synced")
	require.Contains(t, changed(t, s), "partitions/b-0/0.dat")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "partitions", "a-0")))
	require.Equal(t, []string{"partitions"}, changed(t, s))
}

func TestGrowing(t *testing.T) {
	require.Equal(t, []string{"10.dat", "9.x", "seen.log", "topics.json"},
		growing(map[string]stamp{"0.dat": {}, "9.dat": {}, "10.dat": {}, "9.x": {}, "seen.log": {}, "topics.json": {}}))
}

// A client hears of nothing after a sync has failed.
func TestNothingIsSaidThatIsNotDurable(t *testing.T) {
	s := newSyncer(filepath.Join(t.TempDir(), "gone"))
	here, there := net.Pipe()
	heard := make(chan string)
	go func() {
		b, _ := io.ReadAll(there)
		heard <- string(b)
	}()
	c := &synced{Conn: here, sync: s}
	_, err := c.Write([]byte("before"))
	require.NoError(t, err)
	s.broken = errors.New("the disk is full")
	_, err = c.Write([]byte("after"))
	require.ErrorContains(t, err, "the disk is full")
	require.NoError(t, here.Close())
	require.Equal(t, "before", <-heard)
}
