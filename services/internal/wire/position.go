package wire

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Position is a place in the topic messages: of each partition the offset of a record. A partition that is not in it is at its beginning. To clients its
// text, "0:17,3:4711", means nothing.
type Position map[int32]int64

// maxPosition bounds the text of a position: 1000 partitions with offsets of 10 digits.
const maxPosition = 16 << 10

func (p Position) String() string {
	var b strings.Builder
	for i, n := range slices.Sorted(maps.Keys(p)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(int64(n), 10) + ":" + strconv.FormatInt(p[n], 10))
	}
	return b.String()
}

// ParsePosition reads the text of a position.
func ParsePosition(s string) (Position, error) {
	p := Position{}
	if s == "" {
		return p, nil
	}
	if len(s) > maxPosition {
		return nil, fmt.Errorf("a position has at most %d characters", maxPosition)
	}
	for part := range strings.SplitSeq(s, ",") {
		partition, offset, _ := strings.Cut(part, ":")
		n, bad := strconv.ParseInt(partition, 10, 32)
		o, worse := strconv.ParseInt(offset, 10, 64)
		if bad != nil || worse != nil || n < 0 || o < 0 {
			return nil, fmt.Errorf("%.40q is no position", s)
		}
		p[int32(n)] = o
	}
	return p, nil
}
