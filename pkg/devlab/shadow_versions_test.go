package devlab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/pkg/load"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/test/scope"
)

// version builds a service with build tags.
func version(t *testing.T, service, tags string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), service)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-gcflags=all=-dwarf=false", "-tags=timetzdata,"+tags, "-o", program, "./services/"+service+"/cmd/"+service)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// shadow runs the shadow of a service until stop is called.
func (w *world) shadow(service, candidate, baseline string) (c *shadow.Comparer, stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	if service == mirror.Service { // which has noticed the end of another
		w.metric(service, "\ngateway_comparer 0\n")
	}
	ready, ended := make(chan error, 1), make(chan error, 1)
	comparers := make(chan *shadow.Comparer, 1)
	rules, err := shadow.ReadRules("../..", service)
	require.NoError(w.t, err)
	policy := verdict.Default()
	policy.Latency = nil // what else the machine does at the moment is no matter of the version
	go func() {
		ended <- w.lab.runShadow(ctx, Shadow{
			Options: shadow.Options{
				Service: service, About: shadow.About{Version: candidate, By: "a test", At: time.Now(), Policy: policy, Rules: rules}, Dir: filepath.Join(w.t.TempDir(), "open"), Now: time.Now,
			},
			Commands: map[side.Side][]string{side.Candidate: {candidate}, side.Baseline: {baseline}},
			Ready:    func(err error) { ready <- err },
			compared: func(c *shadow.Comparer) { comparers <- c },
		}, w.urls, nil)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(w.t, <-ended)
	})
	w.t.Cleanup(cancel)
	require.NoError(w.t, <-ready)
	if service == mirror.Service {
		w.metric(service, "\ngateway_comparer 1\n")
	}
	return <-comparers, stop
}

// try has a version beside the chat for as long as traffic takes, and gives what is known then.
func (w *world) try(service, candidate, baseline string, traffic func(context.Context, *shadow.Comparer)) shadow.Evidence {
	w.t.Helper()
	c, stop := w.shadow(service, candidate, baseline)
	defer stop()
	traffic(w.t.Context(), c)
	e := c.Evidence()
	require.Empty(w.t, e.Error)
	return e
}

// chat is what people say, until there is a verdict.
func (w *world) chat(ctx context.Context, c *shadow.Comparer) {
	w.t.Helper()
	for seed := uint64(1); c.Evidence().Verdict.State == verdict.Inconclusive; seed++ {
		require.Less(w.t, seed, uint64(20), "no verdict: %+v", c.Evidence())
		shape, err := load.ParseShape("rooms:10")
		require.NoError(w.t, err)
		res, err := load.Run(ctx, load.Options{
			Address: w.url, Shape: shape, Seed: 1, Key: []byte("the key of the users of a test"), Size: 50,
			Users: 50, Devices: 1, Mix: load.Chat, Rate: chatRate, Duration: 1500 * time.Second / chatRate, Settle: time.Minute,
		})
		require.NoError(w.t, err)
		require.True(w.t, res.Verdict.Kept(), "the live chat keeps its promise: %+v", res.Verdict)
		for e := c.Evidence(); e.Verdict.State == verdict.Inconclusive && e.Sockets != nil && e.Sockets.Waiting > 0; e = c.Evidence() {
			select {
			case <-ctx.Done():
				require.NoError(w.t, ctx.Err())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// left gives what there is in Kafka and in the database.
func (w *world) left() (names []string) {
	w.t.Helper()
	root := kadm.NewClient(w.kafka())
	all, err := root.ListTopics(w.t.Context())
	require.NoError(w.t, err)
	groups, err := root.ListGroups(w.t.Context())
	require.NoError(w.t, err)
	databases, err := w.database("admin").Client().ListDatabaseNames(w.t.Context(), bson.D{})
	require.NoError(w.t, err)
	return append(append(all.Names(), groups.Groups()...), databases...)
}

// The same version passes. One that drops edits, one that swaps messages and one that never frees memory fail, and the evidence says why.
// Afterwards there is nothing left of them.
func TestShadowsOfVersions(t *testing.T) {
	same := version(t, "messaging", "")
	w := newWorld(t)
	w.talk("before-")
	w.handled("messaging")
	before := w.left()

	for _, tt := range []struct {
		tags      string
		state     verdict.State
		condition string
		shape     string
	}{
		{"", verdict.Pass, "", ""},
		{"faulty_edits", verdict.Fail, "differences", "edit: outputs"},
		{"faulty_order", verdict.Fail, "differences", "disordered extra"},
		{"faulty_memory", verdict.Fail, "memory", ""},
	} {
		t.Run(tt.tags, func(t *testing.T) {
			if tt.tags != "" && tt.tags != "faulty_edits" {
				scope.SkipUnlessFull(t, "it is found as the one before, in another way")
			}
			candidate := same
			if tt.tags != "" {
				candidate = version(t, "messaging", tt.tags)
			}
			e := w.try("messaging", candidate, same, w.chat)
			require.Positive(t, e.Requests, "answers are compared, too")
			require.Equal(t, tt.state, e.Verdict.State, "%s\n%+v", e.Verdict.Why, e.Differing)
			if tt.condition != "" {
				failed := false
				for _, c := range e.Verdict.Conditions {
					failed = failed || (c.Name == tt.condition && c.State == verdict.Fail)
				}
				require.True(t, failed, e.Verdict.Why)
			}
			if tt.shape != "" {
				found := false
				for _, s := range e.Differing.Shapes {
					found = found || strings.Contains(s.Shape, tt.shape)
				}
				require.True(t, found, "%+v", e.Differing.Shapes)
			}
			// The brokers of an Apache Kafka hear one after the other that a topic is gone.
			require.EventuallyWithT(t, func(c *assert.CollectT) { require.ElementsMatch(c, before, w.left()) }, time.Minute, 50*time.Millisecond)
		})
	}
}
