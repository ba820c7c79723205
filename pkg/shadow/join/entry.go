package join

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// entry is an open join. There may be a million of them, so it has no pointers and no gaps.
type entry struct {
	offset  int64
	digest  [side.Count]uint64
	latency [side.Count]uint32 // microseconds
	// Where the body is that was written last. Each body says where the one before it is.
	at      uint32
	segment uint16
	oldest  uint16 // the segment of the first body
	kind    [side.Count]uint8
	state   uint8
}

const entrySize = 56

const (
	stateHas     uint8 = 1 << 0 // shifted by the side
	stateError   uint8 = 1 << 3 // shifted by the side
	stateWritten uint8 = 1 << 7 // there is a body
)

func (e *entry) has(s side.Side) bool { return e.state&(stateHas<<s) != 0 }

func (e *entry) isComplete() bool {
	const all = stateHas<<side.Live | stateHas<<side.Candidate | stateHas<<side.Baseline
	return e.state&all == all
}

func (e *entry) isSame() bool {
	return e.isComplete() && e.digest[side.Live] == e.digest[side.Candidate] && e.digest[side.Live] == e.digest[side.Baseline]
}

// knows says whether a side has a body with this digest, so that it need not be written again.
func (e *entry) knows(digest uint64) bool {
	for _, s := range side.All() {
		if e.has(s) && e.digest[s] == digest {
			return true
		}
	}
	return false
}

func (e *entry) set(s side.Side, digest uint64, kind uint8, latency time.Duration, failed bool) {
	e.state |= stateHas << s
	if failed {
		e.state |= stateError << s
	}
	e.digest[s], e.kind[s] = digest, kind
	e.latency[s] = uint32(min(max(latency.Microseconds(), 0), math.MaxUint32))
}

// blockEntries is how many entries are in a block of 8 KiB, which is what the allocator hands out.
const blockEntries = 8 << 10 / entrySize

// ordered keeps entries in the order of their offsets, in blocks. Most come at the end, and leave at the begin.
type ordered struct {
	blocks [][]entry // none is empty
	count  int
}

func (o *ordered) first() *entry {
	if len(o.blocks) == 0 {
		return nil
	}
	return &o.blocks[0][0]
}

// find gives the entry of an offset, or nil. It is valid until the next insert or pop.
func (o *ordered) find(offset int64) *entry {
	if len(o.blocks) == 0 {
		return nil
	}
	block := o.blocks[o.block(offset)]
	if i, found := search(block, offset); found {
		return &block[i]
	}
	return nil
}

// insert takes in an entry whose offset is not there.
func (o *ordered) insert(e entry) {
	o.count++
	if len(o.blocks) == 0 {
		o.blocks = append(o.blocks, newBlock(e))
		return
	}
	b := o.block(e.offset)
	block := o.blocks[b]
	if len(block) == cap(block) {
		switch {
		case len(block) < blockEntries/2: // since others have been popped
			block = newBlock(block...)
		case b == len(o.blocks)-1 && block[len(block)-1].offset < e.offset:
			o.blocks = append(o.blocks, newBlock(e))
			return
		default:
			middle := len(block) / 2
			right := newBlock(block[middle:]...)
			block = block[:middle]
			o.blocks[b] = block
			o.blocks = slices.Insert(o.blocks, b+1, right)
			if e.offset > right[0].offset {
				b, block = b+1, right
			}
		}
	}
	i, _ := search(block, e.offset)
	o.blocks[b] = slices.Insert(block, i, e)
}

// pop takes out the first entry.
func (o *ordered) pop() {
	o.count--
	o.blocks[0] = o.blocks[0][1:]
	if len(o.blocks[0]) == 0 {
		o.blocks[0] = nil
		o.blocks = o.blocks[1:]
	}
}

func newBlock(entries ...entry) []entry {
	return append(make([]entry, 0, blockEntries), entries...)
}

// block gives the block that an offset belongs to.
func (o *ordered) block(offset int64) int {
	after := sort.Search(len(o.blocks), func(i int) bool { return o.blocks[i][0].offset > offset })
	return max(after-1, 0)
}

func search(block []entry, offset int64) (int, bool) {
	i := sort.Search(len(block), func(i int) bool { return block[i].offset >= offset })
	return i, i < len(block) && block[i].offset == offset
}
