package kafka

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
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

// A round looks at what requests may have changed, and only then.
func TestSyncerLooksWhereRequestsWrite(t *testing.T) {
	s := newSyncer(t.TempDir())
	put := func(topic string) {
		f, err := os.OpenFile(filepath.Join(s.partition(topic, 0), "0.dat"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString("x")
		require.NoError(t, errors.Join(err, f.Close()))
	}
	for _, topic := range []string{"a", "b", "c"} {
		require.NoError(t, os.MkdirAll(s.partition(topic, 0), 0o700))
		put(topic)
	}
	// unseen gives what was changed and is not synced. It lets a later call see the same again.
	unseen := func() (names []string) {
		known := map[string]*folder{}
		for path, f := range s.folders {
			known[path] = &folder{mod: f.mod, looked: f.looked, files: maps.Clone(f.files), growing: f.growing, children: f.children}
		}
		names = changed(t, s)
		s.folders = known
		return names
	}
	a, b := []string{s.partition("a", 0)}, []string{s.partition("b", 0)}
	require.NoError(t, s.flush())
	require.Empty(t, unseen(), "the first round looks at all")

	s.begin(a)
	put("a")
	put("b")
	s.end(a)
	require.NoError(t, s.flush())
	require.Equal(t, []string{"partitions/b-0/0.dat"}, unseen())
	s.begin([]string{whole})
	require.NoError(t, s.flush())
	require.Empty(t, unseen())
	s.end([]string{whole})
	require.NoError(t, s.flush())

	// While a request is under way it may write between any two looks.
	s.begin(b)
	for range 2 {
		put("b")
		require.NoError(t, s.flush())
		require.Empty(t, unseen())
	}
	s.end(b)
	require.NoError(t, s.flush())
	put("b")
	require.NoError(t, s.flush())
	require.Equal(t, []string{"partitions/b-0/0.dat"}, unseen(), "nobody has asked for that")

	// And so may one whose client has gone.
	s.begin(b)
	s.abandon(b)
	for range 2 {
		put("b")
		require.NoError(t, s.flush())
		require.Empty(t, unseen())
	}
	d := []string{s.partition("d", 0), whole}
	s.begin(d)
	s.abandon(d)
	require.Equal(t, map[string]int{b[0]: 1}, s.under, "there is no d")
	require.NoError(t, s.flush())
	require.Empty(t, s.left)
}

// Whoever comes while a round runs waits for the next one, which one of them makes.
func TestSyncerMakesOneRoundForAll(t *testing.T) {
	s := newSyncer(t.TempDir())
	a := s.partition("a", 0)
	require.NoError(t, os.MkdirAll(a, 0o700))
	file := filepath.Join(a, "0.dat")
	var synced atomic.Int64
	s.sync = func(path string) error {
		if path == file {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			runtime.Gosched()
			synced.Store(info.Size())
		}
		return nil
	}
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			for range 200 {
				s.begin([]string{a})
				f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err != nil {
					return err
				}
				_, err = f.WriteString("x")
				info, statErr := f.Stat()
				if err := errors.Join(err, statErr, f.Close()); err != nil {
					return err
				}
				s.end([]string{a})
				if err := s.flush(); err != nil {
					return err
				}
				if at := synced.Load(); at < info.Size() {
					return fmt.Errorf("%d bytes were promised, and %d were synced", info.Size(), at)
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Nil(t, s.running)
	require.Nil(t, s.next)
	require.Empty(t, s.under)
	require.Empty(t, s.left)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.EqualValues(t, 1600, info.Size())
	require.Empty(t, changed(t, s))
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
	c := newSynced(here, s)
	_, err := c.Write([]byte("before"))
	require.NoError(t, err)
	s.broken = errors.New("the disk is full")
	_, err = c.Write([]byte("after"))
	require.ErrorContains(t, err, "the disk is full")
	require.NoError(t, here.Close())
	require.Equal(t, "before", <-heard)
}
