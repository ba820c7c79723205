package bus

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Records that are dropped before they are read are noticed, whether the reader has read before or begins there.
func TestResetIsNoticed(t *testing.T) {
	for name, before := range map[string]int{"a reader that has begun": 1, "a reader that begins": 0} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			cluster, _ := startCluster(t, 1)
			config := Config{Brokers: cluster.ListenAddrs()}
			writer, err := Open(config, "test", nil, kgo.DefaultProduceTopic(Users))
			require.NoError(t, err)
			t.Cleanup(writer.Close)
			admin := kadm.NewClient(writer)
			made, err := admin.CreateTopic(ctx, 1, 1, nil, Users)
			require.NoError(t, errors.Join(err, made.Err))
			write := func(n int) {
				for range n {
					require.NoError(t, writer.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr())
				}
			}
			write(10)
			drop := func() {
				var to kadm.Offsets
				to.AddOffset(Users, 0, 6, -1)
				deleted, err := admin.DeleteRecords(ctx, to)
				require.NoError(t, errors.Join(err, deleted.Error()))
			}

			resets := Resets(prometheus.NewRegistry())
			var out strings.Builder
			reader, err := Open(config, "gateway", nil, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				CountResets(slog.New(slog.NewTextHandler(&out, nil)), resets, nil), kgo.FetchMaxBytes(1), kgo.FetchMaxPartitionBytes(1)) // one batch at a time
			require.NoError(t, err)
			t.Cleanup(reader.Close)
			at := map[string]map[int32]kgo.Offset{Users: {0: kgo.NewOffset().At(0)}}
			if before == 0 {
				drop()
			}
			reader.AddConsumePartitions(at)
			for range before {
				require.EqualValues(t, 0, reader.PollFetches(ctx).Records()[0].Offset)
				reader.PauseFetchPartitions(map[string][]int32{Users: {0}})
				drop()
				reader.ResumeFetchPartitions(map[string][]int32{Users: {0}})
			}
			for next := int64(0); next < 6; {
				fetches := reader.PollFetches(ctx)
				require.NoError(t, fetches.Err())
				for _, r := range fetches.Records() {
					next = r.Offset
				}
			}
			require.EqualValues(t, 1, testutil.ToFloat64(resets))
			require.Contains(t, out.String(), "level=ERROR")
			require.Contains(t, out.String(), "topic=users partition=0 prior_offset=")
		})
	}
}
