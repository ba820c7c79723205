package join

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/labctl/labctl/pkg/shadow/side"
)

const (
	minSegment  = 4 << 20
	maxSegments = 256      // at the disk's limit, and one more for each stream: each is an open file
	bufferSize  = 32 << 10 // of each stream
	pattern     = "join-*.spill"
)

var errDiskFull = errors.New("the limit of the disk is reached")

// disk is what the streams of a join share.
type disk struct {
	dir         string
	limit, used int64
	segmentSize int64
	bufferSize  int
	files       int // how many have been made
}

func openDisk(dir string, limit int64) (*disk, error) {
	if limit < 0 || limit > maxSegments<<30 {
		return nil, fmt.Errorf("the limit of a join's disk is %d bytes; write one of at most %d", limit, int64(maxSegments<<30))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for bodies that wait to be joined: %w; give the join another one", err)
	}
	stale, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return nil, fmt.Errorf("look for what an earlier join has left in %s: %w; give the join a directory without any of *?[\\ in its name", dir, err)
	}
	for _, file := range stale {
		if err := os.Remove(file); err != nil {
			return nil, fmt.Errorf("remove what an earlier join has left: %w; remove it, or give the join another directory", err)
		}
	}
	return &disk{dir: dir, limit: limit, segmentSize: max(minSegment, limit/maxSegments), bufferSize: bufferSize}, nil
}

func (d *disk) create() (*os.File, error) {
	d.files++
	name := filepath.Join(d.dir, fmt.Sprintf("join-%d.spill", d.files))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a file for bodies that wait to be joined: %w; see that %s is there, can be written, and is no other join's", err, d.dir)
	}
	return f, nil
}

// spill keeps the bodies of a stream's open joins, the oldest first. What was added last is in memory, the rest in
// files.
type spill struct {
	disk     *disk
	segments []*segment // the last is the one that is written to
	first    uint16     // the number of segments[0]; after the last number comes 0, since there are never so many
	buffer   []byte     // the end of the last segment, which is not in its file yet
	bytes    int64
}

// segment is a file of bodies. It is removed when all joins are closed whose first body is in it or in an older one:
// then no body in it is of an open join.
type segment struct {
	file    *os.File // nil before anything was written
	written int64    // bytes in the file
	size    int64    // with those in the buffer
	joins   int      // open ones whose first body is in it
}

// A body has a header: its length, its side, whether the join has another body before it, and where that one is.
const headerSize = 12

// add writes a side's body, and puts its position into the entry.
func (s *spill) add(e *entry, of side.Side, body []byte) error {
	need := int64(headerSize + len(body))
	if s.bytes+need > s.disk.limit-s.disk.used-need {
		return errDiskFull
	}
	var last *segment
	if len(s.segments) > 0 {
		last = s.segments[len(s.segments)-1]
		if last.size >= s.disk.segmentSize || len(s.buffer) >= s.disk.bufferSize {
			if err := s.flush(last); err != nil {
				return err
			}
		}
	}
	if last == nil || last.size >= s.disk.segmentSize {
		last = &segment{}
		s.segments = append(s.segments, last)
	}
	number := s.first + uint16(len(s.segments)-1)
	var header [headerSize]byte
	binary.LittleEndian.PutUint32(header[0:], uint32(len(body)))
	header[4] = byte(of)
	if e.state&stateWritten != 0 {
		header[5] = 1
		binary.LittleEndian.PutUint16(header[6:], e.segment)
		binary.LittleEndian.PutUint32(header[8:], e.at)
	} else {
		e.oldest = number
	}
	e.segment, e.at = number, uint32(last.size)
	e.state |= stateWritten
	s.buffer = append(append(s.buffer, header[:]...), body...)
	last.size += need
	s.bytes += need
	s.disk.used += need
	return nil
}

// flush writes the buffer to the file of the last segment. After an error it may be called again.
func (s *spill) flush(last *segment) error {
	if last.file == nil {
		f, err := s.disk.create()
		if err != nil {
			return err
		}
		last.file = f
	}
	if _, err := last.file.WriteAt(s.buffer, last.written); err != nil {
		return fmt.Errorf("write bodies that wait to be joined: %w; free some space, or give the join another directory", err)
	}
	last.written += int64(len(s.buffer))
	s.buffer = s.buffer[:0]
	return nil
}

// hold says that there is a join whose first body is in a segment.
func (s *spill) hold(number uint16) { s.segments[number-s.first].joins++ }

// release says that such a join was closed, and removes what nobody needs any more.
func (s *spill) release(number uint16) error {
	s.segments[number-s.first].joins--
	var err error
	for len(s.segments) > 0 && s.segments[0].joins == 0 {
		if len(s.segments) == 1 {
			s.buffer = s.buffer[:0]
		}
		err = errors.Join(err, s.remove(s.segments[0]))
		s.segments[0] = nil
		s.segments = s.segments[1:]
		s.first++
	}
	return err
}

func (s *spill) remove(old *segment) error {
	s.bytes -= old.size
	s.disk.used -= old.size
	if old.file == nil {
		return nil
	}
	if err := errors.Join(old.file.Close(), os.Remove(old.file.Name())); err != nil {
		return fmt.Errorf("remove bodies that have been joined: %w; see that nobody else uses %s", err, s.disk.dir)
	}
	return nil
}

func (s *spill) close() error {
	var err error
	for _, old := range s.segments {
		err = errors.Join(err, s.remove(old))
	}
	s.segments, s.buffer = nil, nil
	return err
}

// load reads the bodies of an entry, by side. isValid says whether one is that which was written.
func (s *spill) load(e *entry, isValid func(side.Side, []byte) bool) ([][]byte, error) {
	bodies := make([][]byte, side.Count)
	segment, at := e.segment, int64(e.at)
	for more := true; more; {
		i := int(segment - s.first)
		if i >= len(s.segments) {
			return nil, s.damaged()
		}
		from := s.segments[i]
		var header [headerSize]byte
		if err := s.read(from, at, header[:]); err != nil {
			return nil, err
		}
		n, of := int64(binary.LittleEndian.Uint32(header[0:])), int(header[4])
		if of >= len(bodies) || n > maxBody || bodies[of] != nil {
			return nil, s.damaged()
		}
		body := make([]byte, n)
		if err := s.read(from, at+headerSize, body); err != nil {
			return nil, err
		}
		if !isValid(side.Side(of), body) {
			return nil, s.damaged()
		}
		bodies[of] = body
		more = header[5] != 0
		segment, at = binary.LittleEndian.Uint16(header[6:]), int64(binary.LittleEndian.Uint32(header[8:]))
	}
	// A body that another side had already was not written again.
	for _, a := range side.All() {
		for _, b := range side.All() {
			if bodies[a] == nil && e.has(a) && e.has(b) && bodies[b] != nil && e.digest[a] == e.digest[b] {
				bodies[a] = bodies[b]
			}
		}
	}
	return bodies, nil
}

func (s *spill) damaged() error {
	return fmt.Errorf("bodies that wait to be joined have changed in %s; see that nobody else writes there, and start the join anew", s.disk.dir)
}

// read reads from the file of a segment, or from the buffer.
func (s *spill) read(from *segment, at int64, out []byte) error {
	if at >= from.written {
		copy(out, s.buffer[min(at-from.written, int64(len(s.buffer))):])
		return nil
	}
	if _, err := from.file.ReadAt(out, at); err != nil {
		return fmt.Errorf("read bodies that wait to be joined: %w; see that nobody else writes to %s, and start the join anew", err, s.disk.dir)
	}
	return nil
}
