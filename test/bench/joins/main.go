// Command joins compares and joins made-up results on one processor. It says how many it did in a second, and how much
// memory it took at most. It is a program of its own so that the memory is that of the join.
//
// usage: joins same|noise|open DIR JOINS
//
// With same all sides have the same results, with noise each has a time and an id that differ. With open all joins are
// open at once before the first is emitted.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/join"
	"github.com/labctl/labctl/pkg/shadow/side"
)

const (
	streams = 12
	atOnce  = 1000 // offsets of a stream by which the sides are apart
)

func main() {
	runtime.GOMAXPROCS(1)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "joins:", err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	if len(args) != 3 {
		return errors.New("usage: joins same|noise|open DIR JOINS")
	}
	count, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	b, err := newBench(args[1], args[0] != "same")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.join.Close()) }()
	each := count / streams
	step := int64(atOnce)
	if args[0] == "open" {
		step = each
	}
	begin := time.Now()
	for from := int64(0); from < each; from += step {
		to := min(from+step, each)
		if err := b.add(from, to); err != nil {
			return err
		}
		if open, want := b.join.Stats().Open, streams*(to-from); open != want {
			return fmt.Errorf("%d joins are open, and should be %d: %+v", open, want, b.join.Stats())
		}
		if err := b.advance(to - 1); err != nil {
			return err
		}
	}
	took := time.Since(begin)
	if stats := b.join.Stats(); stats != (join.Stats{Emitted: streams * each}) {
		return fmt.Errorf("not all was joined: %+v", stats)
	}
	if want := (streams*each + 99) / 100; b.differ != want {
		return fmt.Errorf("%d of %d joins differ, and should be %d", b.differ, streams*each, want)
	}
	peak, err := peakMemory()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"rate": float64(streams*each*side.Count) / took.Seconds(), "peak": peak})
}

type bench struct {
	comparer *compare.Comparer
	join     *join.Join
	shapes   *compare.Shapes
	differ   int64 // joins in which the candidate differs where the baseline does not
	noise    bool
	names    [streams]string
}

func newBench(dir string, noise bool) (*bench, error) {
	comparer, err := compare.New(compare.Rules{Ignore: []string{"trace"}, Unordered: []string{"documents"}})
	if err != nil {
		return nil, err
	}
	b := &bench{comparer: comparer, noise: noise, shapes: compare.NewShapes(100)}
	for i := range b.names {
		b.names[i] = fmt.Sprintf("messages/%d", i)
	}
	b.join, err = join.New(join.Options{Dir: dir, DiskLimit: 4 << 30, OpenLimit: 1_200_000, Emit: b.emit})
	return b, err
}

// add adds what all sides made of these offsets, one side after the other.
func (b *bench) add(from, to int64) error {
	for _, s := range side.All() {
		for i, stream := range b.names {
			for offset := from; offset < to; offset++ {
				body, err := b.comparer.Canonical(b.body(s, int64(i), offset))
				if err != nil {
					return err
				}
				r := join.Result{Key: join.Key{Stream: stream, Offset: offset}, Kind: "frame", Body: body, Latency: time.Millisecond}
				if err := b.join.Add(s, r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *bench) advance(upTo int64) error {
	for _, stream := range b.names {
		for _, s := range side.All() {
			if err := b.join.Advance(s, stream, upTo); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) emit(j join.Joined) error {
	if j.Same {
		return nil
	}
	live, candidate, baseline := j.Results[side.Live], j.Results[side.Candidate], j.Results[side.Baseline]
	contrast, err := b.comparer.Contrast(live.Body, candidate.Body, baseline.Body)
	if err == nil && len(contrast.Candidate) > 0 {
		b.differ++
		b.shapes.Add(j.Key.String(), live.Kind, contrast.Candidate, compare.Bodies{Live: live.Body, Candidate: candidate.Body, Baseline: baseline.Body})
	}
	return err
}

// body is what a side made of a record: 300 bytes. One in a hundred of the candidate's is wrong.
func (b *bench) body(s side.Side, stream, offset int64) []byte {
	seq, noise := offset, 0
	if s == side.Candidate && (stream+streams*offset)%100 == 0 {
		seq++
	}
	if b.noise {
		noise = int(s)
	}
	out := make([]byte, 0, 320)
	return fmt.Appendf(out, `{"frames":[{"to":"user-%05d","frame":{"type":"message","conversation":"g:%d","seq":%d,"sender":"user-%05d",`+
		`"at":"2026-11-21T08:15:30.12%dZ","body":"%s"}}],"documents":[{"id":"%08x%d","n":%d}]}`,
		offset%10_000, stream, seq, offset%777, noise, text, offset, noise, offset%50)
}

var text = strings.Repeat("some words ", 10)

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB$`)

// peakMemory gives the most bytes that this process has had resident. What a parent learns when its child ends counts
// the parent's own, too.
func peakMemory() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	found := highWater.FindSubmatch(status)
	if found == nil {
		return 0, errors.New("/proc/self/status has no VmHWM")
	}
	kilobytes, err := strconv.ParseFloat(string(found[1]), 64)
	return kilobytes * 1024, err
}
