package chaos

import (
	"crypto/rand"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/test/kafka/apache"
)

// The same faults beside an Apache Kafka. Of several nodes each has an address of its own, so no way to them is in our hands.
func TestOnApacheKafka(t *testing.T) {
	if !apache.There() {
		t.Skip("there is none; make test-kafka brings one")
	}
	// A user whom the brokers allow everything (tools/kafka.sh): each service with its own rights is what pkg/devlab tries.
	admin := apache.User{Name: "admin", Password: rand.Text()}
	addr, nodes := apache.Use(t, admin)
	kinds, duration := Kinds(), 15*time.Second
	if nodes > 1 {
		kinds, duration = append(clientKinds(), Kill, Pause), 70*time.Second
	}
	p := start(t, ProcessesOptions{
		Instances: Many(), Kafka: addr, Killers: apache.Killers(), Direct: nodes > 1,
		Env: []string{"KAFKA_SASL=SCRAM-SHA-512", "KAFKA_USER=" + admin.Name, "KAFKA_PASSWORD=" + admin.Password},
	})
	// A seed whose faults strike messaging and the gateways most, and each broker besides.
	faults := Schedule(21, p.own(), kinds, duration, 750*time.Millisecond)
	for i, name := range slices.Sorted(maps.Keys(p.o.Killers)) {
		faults = append(faults, Fault{At: time.Duration(3+5*i) * time.Second, Kind: Kill, Part: name})
	}
	stop := func() (int, error) { return 0, nil }
	if nodes > 1 { // the partitions move from one to another meanwhile
		stop = apache.Move(t, 20*time.Second)
	}
	res, err := Run(t.Context(), Options{Lab: p, Seed: 21, Duration: duration, Settle: 3 * time.Minute, Rate: 40, Key: key, Faults: faults})
	require.NoError(t, err, "%v", res.Verdict.Examples)
	if turns, err := stop(); nodes > 1 {
		require.GreaterOrEqual(t, turns, 3, "the last turn: %v", err)
		t.Logf("all partitions moved %d times", turns)
	}
	require.Empty(t, res.Crashes)
	require.Greater(t, res.Verdict.Acked, int64(200))
	for _, f := range res.Faults {
		require.Empty(t, f.Error, f.Fault)
	}
	t.Logf("%+v", res)
}
