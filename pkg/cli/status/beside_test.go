package status

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/zclconf/go-cty/cty"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/pkg/shadow/workload"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/status"
)

func TestApplications(t *testing.T) {
	for _, tt := range []struct {
		from   argocd.App
		state  status.State
		reason string
	}{
		{argocd.App{Sync: "Synced", Health: "Healthy", Message: "left over"}, status.Up, ""},
		{argocd.App{Sync: "Synced", Health: "Progressing"}, status.Working, "synced, progressing"},
		{argocd.App{Sync: "OutOfSync", Health: "Healthy"}, status.Partial, "outofsync, healthy"},
		{argocd.App{Sync: "OutOfSync", Health: "Healthy", Message: "deployment/auth: invalid\nand more"}, status.Failed, "deployment/auth: invalid"},
		{argocd.App{Sync: "Synced", Health: "Degraded", Message: "deployment/auth: 1 of 2"}, status.Failed, "deployment/auth: 1 of 2"},
		{argocd.App{}, status.Unknown, ","},
	} {
		got := application(tt.from)
		require.Equal(t, tt.state, got.State, "%+v", tt.from)
		require.Equal(t, tt.reason, got.Reason, "%+v", tt.from)
		require.Equal(t, tt.state == status.Up, got.Next == "")
	}
}

func TestShadows(t *testing.T) {
	of := func(state verdict.State) shadow.Evidence {
		return shadow.Evidence{Version: "v2", Verdict: verdict.Verdict{State: state, Why: "so it is.", Samples: 10, Remaining: 90}}
	}
	stopped, over := of(verdict.Inconclusive), of(verdict.Inconclusive)
	stopped.Error, over.Ended = "the disk is full", "its lifetime, 24h, is over"
	for _, tt := range []struct {
		e      shadow.Evidence
		err    error
		state  status.State
		reason string
		next   string
	}{
		{of(verdict.Inconclusive), nil, status.Working, "inconclusive: about 90 more results are needed. so it is.", "labctl shadow status auth"},
		{of(verdict.Pass), nil, status.Up, "pass: so it is.", "labctl shadow promote auth"},
		{of(verdict.Fail), nil, status.Failed, "fail: so it is.", "labctl shadow diff auth"},
		{stopped, nil, status.Failed, "it stopped: the disk is full", "labctl shadow status auth"},
		{over, nil, status.Partial, "its lifetime, 24h, is over; inconclusive: about 90 more results are needed. so it is.", "labctl shadow status auth"},
		{shadow.Evidence{}, errors.New("the comparer does not answer"), status.Unknown, "the comparer does not answer", "labctl shadow status auth"},
	} {
		got := shadowOf("auth", tt.e, tt.err)
		require.Equal(t, status.Condition{State: tt.state, Reason: tt.reason, Next: tt.next}, got.Condition)
	}
}

func TestKafkaOfTheOutputs(t *testing.T) {
	outputs := func() map[string]cty.Value {
		return map[string]cty.Value{
			"namespace":      cty.StringVal("data"),
			"kafka_brokers":  cty.ListVal([]cty.Value{cty.StringVal("kafka.data.svc.cluster.local:9092")}),
			"kafka_users":    cty.MapVal(map[string]cty.Value{"admin": cty.StringVal("secret"), "auth": cty.StringVal("other")}).Mark(stack.Sensitive),
			"ca_certificate": cty.StringVal("PEM"),
		}
	}
	k, ok, err := kafkaOf(outputs())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, kafkaServer{service: "kafka", namespace: "data", port: 9092, authority: "PEM", password: "secret"}, k)

	for name, change := range map[string]func(map[string]cty.Value){
		"not applied": func(o map[string]cty.Value) { clear(o) },
		"elsewhere":   func(o map[string]cty.Value) { o["namespace"] = cty.StringVal("") },
		"at Azure": func(o map[string]cty.Value) {
			o["kafka_brokers"] = cty.ListVal([]cty.Value{cty.StringVal("lab.servicebus.windows.net:9093")})
		},
		"without brokers": func(o map[string]cty.Value) { o["kafka_brokers"] = cty.ListValEmpty(cty.String) },
		"without an admin": func(o map[string]cty.Value) {
			o["kafka_users"] = cty.MapVal(map[string]cty.Value{"auth": cty.StringVal("other")})
		},
		"of unknown users": func(o map[string]cty.Value) { o["kafka_users"] = cty.UnknownVal(cty.Map(cty.String)) },
		"of users null":    func(o map[string]cty.Value) { o["kafka_users"] = cty.NullVal(cty.Map(cty.String)) },
		"of brokers null":  func(o map[string]cty.Value) { o["kafka_brokers"] = cty.NullVal(cty.List(cty.String)) },
		"of another broker": func(o map[string]cty.Value) {
			o["kafka_brokers"] = cty.ListVal([]cty.Value{cty.StringVal("localhost:9092")})
		},
	} {
		o := outputs()
		change(o)
		_, ok, err := kafkaOf(o)
		require.NoError(t, err, name)
		require.False(t, ok, name)
	}
	o := outputs()
	o["kafka_brokers"] = cty.ListVal([]cty.Value{cty.StringVal("kafka.data.svc.cluster.local")})
	_, _, err = kafkaOf(o)
	require.ErrorContains(t, err, "kafka_brokers")
}

// A group whose members are gone waits; one that has read all does not.
func TestGroups(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.SeedTopics(1, "messages", "presence"))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	for range 3 {
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "messages", Value: []byte("hello")}).FirstErr())
	}
	admin := kadm.NewClient(client)
	for group, offset := range map[string]int64{"messaging": 1, "messaging-shadow": 3} {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: "messages", At: offset, LeaderEpoch: -1})
		_, err := admin.CommitOffsets(t.Context(), group, offsets)
		require.NoError(t, err)
	}
	all, err := admin.Lag(t.Context())
	require.NoError(t, err)
	require.Equal(t, []status.Group{
		{Name: "messaging", Lag: 2, Topics: []string{"messages"}, Condition: status.Condition{State: status.Down, Reason: "nobody reads, and 2 records wait"}},
		{Name: "messaging-shadow", Topics: []string{"messages"}, Condition: status.Condition{State: status.Up}},
	}, groups(all))
}

func TestPodsOfServices(t *testing.T) {
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{nameLabel: "auth"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: workload.HealthPort, ContainerPort: 8081}}}}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning},
		}
		change(p)
		return p
	}
	require.True(t, isService(pod(func(*corev1.Pod) {})))
	for name, change := range map[string]func(*corev1.Pod){
		"without the port": func(p *corev1.Pod) { p.Spec.Containers[0].Ports = nil },
		"of a shadow":      func(p *corev1.Pod) { p.Labels[workload.Label] = "auth" },
		"without a name":   func(p *corev1.Pod) { p.Labels = nil },
		"ending":           func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} },
		"not running":      func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending },
	} {
		require.False(t, isService(pod(change)), name)
	}
}
