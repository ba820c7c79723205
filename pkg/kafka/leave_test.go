package kafka_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/labctl/labctl/pkg/kafka"
)

// Whoever dies while a group makes room for them is no member of it, and so gets nothing that nobody reads.
func TestDeathBeforeTheAnswerToAJoin(t *testing.T) {
	b, err := kafka.Start(kafka.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	admin := kadm.NewClient(client(t, b.Addr()))
	_, err = admin.CreateTopic(t.Context(), 8, -1, nil, "t")
	require.NoError(t, err)
	assigned := make(chan int, 100)
	client(t, b.Addr(), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.Balancers(kgo.RoundRobinBalancer()),
		kgo.HeartbeatInterval(2*time.Second), kgo.SessionTimeout(6*time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, a map[string][]int32) { assigned <- len(a["t"]) }))
	require.Equal(t, 8, <-assigned)

	dies, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.Addr())
	require.NoError(t, err)
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{"t"}
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.ProtocolType, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 5, "g", "consumer", 6000, 60_000
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: kgo.RoundRobinBalancer().ProtocolName(), Metadata: meta.AppendTo(nil)}}
	say := func() {
		_, err := dies.Write(kmsg.NewRequestFormatter().AppendRequest(nil, join, 1))
		require.NoError(t, err)
	}
	say()
	size := make([]byte, 4)
	_, err = io.ReadFull(dies, size)
	require.NoError(t, err)
	answer := make([]byte, binary.BigEndian.Uint32(size))
	_, err = io.ReadFull(dies, answer)
	require.NoError(t, err)
	res := kmsg.NewPtrJoinGroupResponse()
	res.Version = join.Version
	require.NoError(t, res.ReadFrom(answer[4:]))
	require.NotEmpty(t, res.MemberID)
	join.MemberID = res.MemberID
	say()
	require.Eventually(t, func() bool {
		groups, err := admin.DescribeGroups(t.Context(), "g")
		return err == nil && len(groups["g"].Members) == 2
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, dies.Close())

	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	for n := 0; n != 8; {
		select {
		case n = <-assigned:
		case <-ctx.Done():
			t.Fatal("the group waits for who has died")
		}
	}
	groups, err := admin.DescribeGroups(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, groups["g"].Members, 1)
}
