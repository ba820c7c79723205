package messaging

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An instance that goes on after others have taken its partitions over commits nothing of them.
func TestOthersPartitionsAreNotCommitted(t *testing.T) {
	c := newConsumer(&messaging{})
	c.taken = map[int32]int64{0: 10, 1: 10, 3: 10}
	upTo := []source{{Partition: 0, Offset: 12}, {Partition: 1, Offset: 9}, {Partition: 2, Offset: 12}, {Partition: 3, Offset: 10}}
	require.Equal(t, map[int32]kgo.EpochOffset{0: {Epoch: -1, Offset: 13}, 3: {Epoch: -1, Offset: 11}}, c.commits(upTo),
		"1 was another's meanwhile, and 2 still is")
}
