package records

import (
	"encoding/json"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// inputs are the records of a partition whose results are not complete on all sides.
type inputs struct{ list []input }

type input struct {
	offset int64
	kind   string
	at     time.Time
}

func (in *inputs) add(r *kgo.Record) {
	var record struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(r.Value, &record) != nil || record.Type == "" || len(record.Type) > maxKind {
		record.Type = r.Topic // a lease, or a record that can never be handled
	}
	in.list = append(in.list, input{r.Offset, record.Type, r.Timestamp})
}

// maxKind is the length in bytes of the longest kind.
const maxKind = 32

// between gives the records from one offset to before another.
func (in *inputs) between(from, before int64) []input {
	i := sort.Search(len(in.list), func(i int) bool { return in.list[i].offset >= from })
	j := sort.Search(len(in.list), func(i int) bool { return in.list[i].offset >= before })
	return in.list[i:j]
}

// trim forgets the records before an offset.
func (in *inputs) trim(before int64) {
	i := sort.Search(len(in.list), func(i int) bool { return in.list[i].offset >= before })
	if i > len(in.list)/2 { // what is left moves seldom
		in.list = append([]input(nil), in.list[i:]...)
	}
}
