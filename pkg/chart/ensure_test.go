package chart

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// rig is a client whose cluster is in memory. It holds releases, namespaces and pods, but none of a release's objects:
// what becomes of those, api_test.go tests on a real API.
type rig struct {
	*Client
	store *storage.Storage
	kube  *kubefake.FailingKubeClient
	core  *fake.Clientset
	waits *waits
}

type waits struct {
	times int
	says  string
	err   error
}

func (w *waits) WaitObjects(_ context.Context, _ []kube.Object, report event.Report) error {
	report.Doing("%s", w.says)
	w.times++
	return w.err
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		store: storage.Init(driver.NewMemory()),
		kube:  &kubefake.FailingKubeClient{PrintingKubeClient: kubefake.PrintingKubeClient{Out: io.Discard}},
		core:  fake.NewClientset(),
		waits: &waits{},
	}
	r.Client = &Client{waiter: r.waits, open: func(context.Context, string, func(string)) (*session, error) {
		return &session{core: r.core, complaint: func() string { return "" }, cfg: &action.Configuration{
			Releases: r.store, KubeClient: r.kube, Capabilities: chartutil.DefaultCapabilities.Copy(),
			Log: func(string, ...any) {},
		}}, nil
	}}
	return r
}

func small(values map[string]any) Release {
	return Release{Name: "small", Namespace: "here", ChartDir: "testdata/small", Values: values, Timeout: 20 * time.Second}
}

// leave makes the last revision look as a killed or failed labctl leaves it.
func (r *rig) leave(t *testing.T, status release.Status) {
	t.Helper()
	last, err := r.store.Last("small")
	require.NoError(t, err)
	last.Info.Status = status
	require.NoError(t, r.store.Update(last))
}

func TestEnsure(t *testing.T) {
	ctx := t.Context()
	first, second := small(map[string]any{"port": 1}), small(map[string]any{"port": 2})
	for _, tt := range []struct {
		name     string
		before   func(t *testing.T, r *rig)
		action   Action
		changed  bool
		revision int
	}{
		{"none yet", func(*testing.T, *rig) {}, Install, true, 1},
		{"stands", func(t *testing.T, r *rig) { ensured(t, r, second) }, Nothing, false, 1},
		{"stands with other values", func(t *testing.T, r *rig) { ensured(t, r, first) }, Upgrade, true, 2},
		{"install cut off", func(t *testing.T, r *rig) {
			ensured(t, r, first)
			r.leave(t, release.StatusPendingInstall)
		}, TakeOver, true, 2},
		{"install with the same values cut off", func(t *testing.T, r *rig) {
			ensured(t, r, second)
			r.leave(t, release.StatusPendingInstall)
		}, TakeOver, true, 2},
		{"upgrade cut off", func(t *testing.T, r *rig) {
			ensured(t, r, first)
			ensured(t, r, second)
			r.leave(t, release.StatusPendingUpgrade)
		}, TakeOver, true, 3},
		{"rollback cut off", func(t *testing.T, r *rig) {
			ensured(t, r, first)
			ensured(t, r, second)
			r.leave(t, release.StatusPendingRollback)
		}, TakeOver, true, 3},
		{"upgrade failed", func(t *testing.T, r *rig) {
			ensured(t, r, first)
			r.kube.UpdateError = errors.New("no")
			_, err := r.Ensure(ctx, second, nil)
			require.Error(t, err)
			r.kube.UpdateError = nil
		}, TakeOver, true, 3},
		{"install failed", func(t *testing.T, r *rig) {
			r.leaveFailedInstall(t, first)
		}, TakeOver, true, 2},
		{"removal cut off", func(t *testing.T, r *rig) {
			ensured(t, r, second)
			r.leave(t, release.StatusUninstalling)
		}, Reinstall, true, 1},
		{"uninstalled with its history kept", func(t *testing.T, r *rig) {
			ensured(t, r, second)
			r.leave(t, release.StatusUninstalled)
		}, Install, true, 2},
		{"made by another tool", func(t *testing.T, r *rig) {
			ensured(t, r, second)
			last, err := r.store.Last("small")
			require.NoError(t, err)
			delete(last.Labels, hashLabel)
			require.NoError(t, r.store.Update(last))
		}, Upgrade, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.before(t, r)
			r.waits.times = 0

			plan, err := r.Plan(ctx, second)
			require.NoError(t, err)
			require.Equal(t, tt.action, plan.Action)

			changed, err := r.Ensure(ctx, second, nil)
			require.NoError(t, err)
			require.Equal(t, tt.changed, changed)
			require.Equal(t, 1, r.waits.times)

			state, err := r.Deployed(ctx, "here", "small")
			require.NoError(t, err)
			want, err := Hash(second)
			require.NoError(t, err)
			require.Equal(t, "deployed", state.Status)
			require.Equal(t, want, state.Hash)
			require.Equal(t, tt.revision, state.Revision)

			changed, err = r.Ensure(ctx, second, nil)
			require.NoError(t, err)
			require.False(t, changed, "a second time")
		})
	}
}

func ensured(t *testing.T, r *rig, rel Release) {
	t.Helper()
	_, err := r.Ensure(t.Context(), rel, nil)
	require.NoError(t, err)
}

// leaveFailedInstall makes an install fail as a refused object does: the memory has none, so the record is changed.
func (r *rig) leaveFailedInstall(t *testing.T, rel Release) {
	t.Helper()
	ensured(t, r, rel)
	r.leave(t, release.StatusFailed)
}

func TestEnsureFailures(t *testing.T) {
	ctx := t.Context()
	t.Run("what the API refuses is said", func(t *testing.T) {
		r := newRig(t)
		ensured(t, r, small(nil))
		r.kube.UpdateError = errors.New(`Service "web" is invalid: spec.ports[0].port: must be between 1 and 65535`)
		changed, err := r.Ensure(ctx, small(map[string]any{"port": 0}), nil)
		require.True(t, changed)
		require.ErrorIs(t, err, r.kube.UpdateError)
		require.EqualError(t, err, `release "small" in namespace "here": upgrade: `+r.kube.UpdateError.Error())
	})
	t.Run("what is not ready is passed on, and the release is not applied again", func(t *testing.T) {
		r := newRig(t)
		r.waits.err = errors.New("deployment/web is not ready: image cannot be pulled")
		changed, err := r.Ensure(ctx, small(nil), nil)
		require.True(t, changed)
		require.ErrorIs(t, err, r.waits.err)
		changed, err = r.Ensure(ctx, small(nil), nil)
		require.False(t, changed)
		require.ErrorIs(t, err, r.waits.err)
	})
	t.Run("no secret in error or report", func(t *testing.T) {
		r := newRig(t)
		ensured(t, r, small(nil))
		r.kube.UpdateError = errors.New("invalid: hunter2 aHVudGVyMg==")
		rel := small(map[string]any{"password": "hunter2"})
		rel.Sensitive = []string{"hunter2"}
		_, err := r.Ensure(ctx, rel, nil)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "aHVudGVyMg")
		r.kube.UpdateError = nil
		r.waits.says = "the pod says hunter2"
		var said []string
		_, err = r.Ensure(ctx, rel, func(e event.Event) { said = append(said, e.Message) })
		require.NoError(t, err)
		require.Contains(t, said, "the pod says (sensitive)")
		require.NotContains(t, strings.Join(said, "\n"), "hunter2")
	})
	t.Run("no chart", func(t *testing.T) {
		rel := small(nil)
		rel.ChartDir = "testdata/nowhere"
		_, err := newRig(t).Ensure(ctx, rel, nil)
		require.ErrorContains(t, err, "load chart testdata/nowhere")
	})
	t.Run("wrong values touch nothing", func(t *testing.T) {
		r := newRig(t)
		_, err := r.Ensure(ctx, small(map[string]any{"prot": 1}), nil)
		var refused *ValuesError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, []ValueProblem{{Path: "prot", Message: "is not a value of this chart; here there are image, names, password, port, rawSecret", unknown: true}}, refused.Problems)
		require.Empty(t, r.core.Actions())
	})
	t.Run("a name that cannot be", func(t *testing.T) {
		rel := small(nil)
		rel.Name = "Small!"
		_, err := newRig(t).Ensure(ctx, rel, nil)
		require.ErrorContains(t, err, `"Small!" cannot be a release's name`)
	})
	t.Run("a call about a busy release can be interrupted", func(t *testing.T) {
		r := newRig(t)
		unlock, err := r.lock(ctx, "here", "small")
		require.NoError(t, err)
		defer unlock()
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_, err = r.Ensure(ctx, small(nil), nil)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestUnreachable(t *testing.T) {
	kubeconfig := `{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x, user: x}}],
clusters: [{name: x, cluster: {server: "http://127.0.0.1:1"}}], users: [{name: x, user: {}}]}`
	c, err := New(kubeconfig)
	require.NoError(t, err)
	var away *UnreachableError
	_, err = c.Ensure(t.Context(), small(nil), nil)
	require.ErrorAs(t, err, &away)
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.ErrorAs(t, c.Remove(t.Context(), "here", "small", 0, nil), &away)
	_, err = c.Deployed(t.Context(), "here", "small")
	require.ErrorAs(t, err, &away)

	_, err = New("not a kubeconfig")
	require.ErrorContains(t, err, "read kubeconfig")
	_, err = New("")
	require.ErrorContains(t, err, "read kubeconfig")
}

// A request that is under way ends with the call that it belongs to, and so does the reading of its answer.
func TestRequestsEndWithTheCall(t *testing.T) {
	asked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/answers" {
			_, _ = io.WriteString(w, "begin")
			w.(http.Flusher).Flush()
		}
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	for _, path := range []string{"/silent", "/answers"} {
		t.Run(path, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-asked
				cancel()
			}()
			client := &http.Client{Transport: &bound{ctx: ctx, next: http.DefaultTransport}}
			resp, err := client.Get(server.URL + path) //nolint:noctx // the transport has it
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				require.NoError(t, resp.Body.Close())
			}
			require.ErrorIs(t, err, context.Canceled)
			_, err = client.Get(server.URL + path) //nolint:noctx,bodyclose // it fails
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

func TestNormalValues(t *testing.T) {
	got, err := normal(map[string]any{"n": 1, "f": 1.5, "big": uint64(1 << 63), "list": []string{"a"}, "deep": []map[string]int{{"n": 2}}, "none": nil})
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"n": int64(1), "f": 1.5, "big": float64(1 << 63), "list": []any{"a"}, "deep": []any{map[string]any{"n": int64(2)}}, "none": nil,
	}, got)
	_, err = normal(map[string]any{"f": func() {}})
	require.ErrorContains(t, err, "the values cannot be written as JSON")
}

func TestNamespace(t *testing.T) {
	r := newRig(t)
	ensured(t, r, small(nil))
	ns, err := r.core.CoreV1().Namespaces().Get(t.Context(), "here", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"app.kubernetes.io/managed-by": "labctl", "pod-security.kubernetes.io/enforce": "restricted"}, ns.Labels)

	t.Run("one that is there stays as it is", func(t *testing.T) {
		r := newRig(t)
		r.namespace(t, "here", nil)
		ensured(t, r, small(nil))
		ns, err := r.core.CoreV1().Namespaces().Get(t.Context(), "here", metav1.GetOptions{})
		require.NoError(t, err)
		require.Empty(t, ns.Labels)
	})
}

func (r *rig) namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	_, err := r.core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
	require.NoError(t, err)
}

func TestRemove(t *testing.T) {
	exists := func(t *testing.T, r *rig) bool {
		_, err := r.core.CoreV1().Namespaces().Get(t.Context(), "here", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			require.NoError(t, err)
		}
		return err == nil
	}
	for _, tt := range []struct {
		name      string
		before    func(t *testing.T, r *rig)
		namespace bool // is left
	}{
		{"none there", func(*testing.T, *rig) {}, false},
		{"deployed", func(t *testing.T, r *rig) { ensured(t, r, small(nil)) }, false},
		{"with revisions", func(t *testing.T, r *rig) {
			ensured(t, r, small(nil))
			ensured(t, r, small(map[string]any{"port": 2}))
		}, false},
		{"install cut off", func(t *testing.T, r *rig) {
			ensured(t, r, small(nil))
			r.leave(t, release.StatusPendingInstall)
		}, false},
		{"removal cut off", func(t *testing.T, r *rig) {
			ensured(t, r, small(nil))
			r.leave(t, release.StatusUninstalling)
		}, false},
		{"in a namespace of others", func(t *testing.T, r *rig) {
			r.namespace(t, "here", nil)
			ensured(t, r, small(nil))
		}, true},
		{"with volumes kept", func(t *testing.T, r *rig) {
			ensured(t, r, small(nil))
			_, err := r.core.CoreV1().PersistentVolumeClaims("here").Create(t.Context(), &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}, metav1.CreateOptions{})
			require.NoError(t, err)
		}, true},
		{"beside another release", func(t *testing.T, r *rig) {
			ensured(t, r, small(nil))
			_, err := r.core.CoreV1().Secrets("here").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{"owner": "helm"}}}, metav1.CreateOptions{})
			require.NoError(t, err)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.before(t, r)
			for range 2 {
				require.NoError(t, r.Remove(t.Context(), "here", "small", 0, nil))
				state, err := r.Deployed(t.Context(), "here", "small")
				require.NoError(t, err)
				require.False(t, state.Found)
				require.Equal(t, tt.namespace, exists(t, r))
			}
		})
	}
}

func TestAbandoned(t *testing.T) {
	for _, tt := range []struct {
		name     string
		statuses []release.Status
		want     []int
	}{
		{"none", []release.Status{release.StatusSuperseded, release.StatusDeployed}, nil},
		{"first install", []release.Status{release.StatusFailed, release.StatusPendingInstall}, []int{1, 2}},
		{"upgrades", []release.Status{release.StatusFailed, release.StatusDeployed, release.StatusFailed, release.StatusPendingUpgrade}, []int{3, 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []*release.Release
			for i, s := range tt.statuses {
				all = append(all, &release.Release{Version: i + 1, Info: &release.Info{Status: s}})
			}
			var got []int
			for _, r := range abandoned(all) {
				got = append(got, r.Version)
			}
			require.True(t, slices.Equal(tt.want, got), "%v", got)
		})
	}
}

func TestCheckNeedsTests(t *testing.T) {
	r := newRig(t)
	require.ErrorContains(t, r.Check(t.Context(), "here", "small", 0, nil), "there is no such release")
	ensured(t, r, small(nil))
	require.NoError(t, r.Check(t.Context(), "here", "small", 0, nil))
	r.kube.WatchUntilReadyError = errors.New("pod small-test failed")
	require.ErrorIs(t, r.Check(t.Context(), "here", "small", 0, nil), r.kube.WatchUntilReadyError)
}
