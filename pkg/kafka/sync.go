package kafka

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// syncer makes what the broker has written durable before anybody hears of it: each answer waits until the files that have changed are synced.
// Answers that are ready at the same time wait for the same round, and the broker goes on meanwhile. (kfake's own SyncWrites syncs two files
// for each batch of each partition, one after the other, and does nothing else in that time.)
type syncer struct {
	dir     string
	passing []string // topics that are not synced

	mu      sync.Mutex
	next    *round // will look at the files later than now; nil: nobody waits for one
	running bool

	folders map[string]*folder // used by the round that runs alone
	broken  error              // a failed sync may have lost what it was to keep: nothing can be promised from then on
}

// round is one look at the files.
type round struct {
	done chan struct{}
	err  error
}

// folder is a directory as it was when it was looked at last.
type folder struct {
	mod      time.Time
	looked   time.Time
	files    map[string]stamp
	growing  []string // of files: those that may change without the directory
	children []string
}

// stamp tells whether a file has changed.
type stamp struct {
	size int64
	mod  time.Time
}

// grain is how far apart two changes of a directory must be for its time to tell them apart, on any file system.
const grain = 50 * time.Millisecond

// unpromised is the extension of the files that say of each batch in which epoch it was written, and whether within a transaction. The broker
// starts without them, too, and then takes the first epoch and no transaction, as it is with all that the chat writes.
const unpromised = ".idx"

// syncsAtOnce is how many files are synced at the same time.
const syncsAtOnce = 8

func newSyncer(dir string, passing ...string) *syncer {
	return &syncer{dir: dir, passing: passing, folders: map[string]*folder{}}
}

// passes says whether a directory is that of a partition of a topic that passes: <topic>-<number>.
func (s *syncer) passes(dir, name string) bool {
	i := strings.LastIndexByte(name, '-')
	return i > 0 && dir == filepath.Join(s.dir, "partitions") && slices.Contains(s.passing, name[:i])
}

// flush returns when all that was written before is durable.
func (s *syncer) flush() error {
	s.mu.Lock()
	// A round that runs may have looked before this was written.
	r := s.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		s.next = r
	}
	if !s.running {
		s.running = true
		go s.run()
	}
	s.mu.Unlock()
	<-r.done
	return r.err
}

// run makes rounds until nobody waits.
func (s *syncer) run() {
	for {
		s.mu.Lock()
		r := s.next
		s.next = nil
		s.running = r != nil
		s.mu.Unlock()
		if r == nil {
			return
		}
		r.err = s.round()
		close(r.done)
	}
}

func (s *syncer) round() error {
	if s.broken != nil {
		return s.broken
	}
	var changed []string
	err := s.look(s.dir, &changed)
	if err == nil {
		var g errgroup.Group
		g.SetLimit(syncsAtOnce)
		for _, path := range changed {
			g.Go(func() error { return syncPath(path) })
		}
		err = g.Wait()
	}
	s.broken = err
	return err
}

// look finds what has changed in a directory since the last time, and below it.
func (s *syncer) look(dir string, changed *[]string) error {
	now := time.Now()
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		delete(s.folders, dir)
		return nil
	}
	if err != nil {
		return err
	}
	f := s.folders[dir]
	if f != nil && info.ModTime().Equal(f.mod) && f.looked.Sub(f.mod) > grain {
		for _, name := range f.growing {
			if err := f.check(dir, name, changed); err != nil {
				return err
			}
		}
	} else {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		before := f
		f = &folder{mod: info.ModTime(), looked: now, files: map[string]stamp{}}
		s.folders[dir] = f
		if before == nil || !before.mod.Equal(f.mod) {
			*changed = append(*changed, dir)
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) == unpromised {
				continue
			}
			if e.IsDir() && s.passes(dir, e.Name()) {
				continue
			}
			if e.IsDir() {
				f.children = append(f.children, filepath.Join(dir, e.Name()))
				continue
			}
			if before != nil {
				f.files[e.Name()] = before.files[e.Name()]
			}
			if err := f.check(dir, e.Name(), changed); err != nil {
				return err
			}
		}
		f.growing = growing(f.files)
	}
	for _, child := range f.children {
		if err := s.look(child, changed); err != nil {
			return err
		}
	}
	return nil
}

// check looks at one file.
func (f *folder) check(dir, name string, changed *[]string) error {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		delete(f.files, name)
		return nil
	}
	if err != nil {
		return err
	}
	if now := (stamp{info.Size(), info.ModTime()}); now != f.files[name] {
		f.files[name] = now
		*changed = append(*changed, path)
	}
	return nil
}

// growing gives the files of a directory that may be written to: all but the segments of a log before the last, which are named by numbers.
func growing(files map[string]stamp) (names []string) {
	last := map[string]string{} // by extension
	for name := range files {
		ext := filepath.Ext(name)
		base := strings.TrimSuffix(name, ext)
		if strings.Trim(base, "0123456789") != "" {
			names = append(names, name)
			continue
		}
		before, ok := last[ext]
		if !ok || cmp.Or(cmp.Compare(len(base), len(before)), strings.Compare(base, before)) > 0 {
			last[ext] = base
		}
	}
	for ext, base := range last {
		names = append(names, base+ext)
	}
	slices.Sort(names)
	return names
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || (info.IsDir() && runtime.GOOS == "windows") {
		return err // Windows has no such thing
	}
	return f.Sync()
}
