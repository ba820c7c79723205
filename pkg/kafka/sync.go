package kafka

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// syncer makes what the broker has written durable before anybody hears of it: each answer waits until the files that have changed are synced.
// Answers that are ready at the same time wait for the same round, and the broker goes on meanwhile. (kfake's own SyncWrites syncs two files
// for each batch of each partition, one after the other, and does nothing else in that time.)
//
// A round looks at what the requests that came since the last one may have changed: a produce request its partitions, a fetch nothing, and
// any other the whole directory. What the broker changes by itself, such as old segments that it deletes, is seen with those.
type syncer struct {
	dir     string
	passing []string // topics that are not synced

	mu      sync.Mutex
	running *round // looks at the files
	next    *round // will look at them later than now; nil: nobody waits for one

	under map[string]int      // what requests that are not answered may change at any time, and how many do; "" is all
	left  map[string]struct{} // what was changed since the last round began

	folders map[string]*folder // used by the round that runs alone
	sync    func(path string) error
	broken  error // a failed sync may have lost what it was to keep: nothing can be promised from then on
}

// whole stands for all of the directory.
const whole = ""

// round is one look at the files. It is made by one of those who wait for it.
type round struct {
	lead chan struct{} // whoever takes from it makes the round
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
	return &syncer{dir: dir, passing: passing, under: map[string]int{}, left: map[string]struct{}{whole: {}}, folders: map[string]*folder{}, sync: syncPath}
}

// partition is the directory in which kfake keeps a partition.
func (s *syncer) partition(topic string, number int32) string {
	return filepath.Join(s.dir, "partitions", url.PathEscape(topic)+"-"+strconv.Itoa(int(number)))
}

// begin is told of a request before the broker is. From then on until its end it may change that.
func (s *syncer) begin(changes []string) {
	if len(changes) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		s.under[c]++
	}
}

// end is told when the broker has done what a request wants.
func (s *syncer) end(changes []string) {
	if len(changes) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		s.left[c] = struct{}{}
		if s.under[c]--; s.under[c] == 0 {
			delete(s.under, c)
		}
	}
}

// passes says whether a directory is that of a partition of a topic that passes: <topic>-<number>.
func (s *syncer) passes(dir, name string) bool {
	i := strings.LastIndexByte(name, '-')
	return i > 0 && dir == filepath.Join(s.dir, "partitions") && slices.Contains(s.passing, name[:i])
}

// abandon is told of a request that has no answer to wait for. Its partitions may be written to at any time from now on. What else it changes is
// of use only to requests that look at the whole directory themselves.
func (s *syncer) abandon(changes []string) {
	s.end(slices.DeleteFunc(slices.Clone(changes), func(c string) bool {
		if c == whole {
			return false
		}
		_, err := os.Stat(c)
		return err == nil
	}))
}

// flush returns when all that was written before is durable.
func (s *syncer) flush() error {
	s.mu.Lock()
	if s.broken != nil {
		defer s.mu.Unlock()
		return s.broken
	}
	if len(s.under)+len(s.left) == 0 { // all is seen to, or by a round that runs
		r := s.running
		s.mu.Unlock()
		if r == nil {
			return nil
		}
		<-r.done
		return r.err
	}
	r := s.next
	if r == nil {
		r = &round{lead: make(chan struct{}, 1), done: make(chan struct{})}
		if s.running == nil {
			s.running = r
			r.lead <- struct{}{}
		} else { // that one may have looked before this was written
			s.next = r
		}
	}
	s.mu.Unlock()
	select {
	case <-r.lead:
		s.run(r)
	case <-r.done:
	}
	return r.err
}

// run makes a round, and has one of those who wait for the next make that.
func (s *syncer) run(r *round) {
	s.mu.Lock()
	changes := slices.AppendSeq(slices.Collect(maps.Keys(s.under)), maps.Keys(s.left))
	clear(s.left)
	err := s.broken
	s.mu.Unlock()
	if err == nil {
		err = s.round(changes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, r.err = err, err
	close(r.done)
	if s.running, s.next = s.next, nil; s.running != nil {
		s.running.lead <- struct{}{}
	}
}

// round looks at what may have changed, and syncs what has.
func (s *syncer) round(changes []string) error {
	var changed []string
	look := changes
	for _, c := range changes {
		if c == whole || s.folders[c] == nil { // what is new is in a directory that has changed
			look = []string{s.dir}
			break
		}
	}
	slices.Sort(look)
	for _, dir := range slices.Compact(look) {
		if err := s.look(dir, &changed); err != nil {
			return err
		}
	}
	if len(changed) == 1 {
		return s.sync(changed[0])
	}
	var g errgroup.Group
	g.SetLimit(syncsAtOnce)
	for _, path := range changed {
		g.Go(func() error { return s.sync(path) })
	}
	return g.Wait()
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
	if runtime.GOOS == "windows" {
		if info, err := f.Stat(); err != nil || info.IsDir() {
			return err // Windows has no such thing
		}
	}
	return f.Sync()
}
