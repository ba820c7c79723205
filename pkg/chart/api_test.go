package chart

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/labctl/labctl/pkg/cluster/clustertest"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// api gives a client of a real API server, in which no controller runs: objects come and go, pods do not.
func api(t *testing.T) (*Client, kubernetes.Interface) {
	t.Helper()
	kubeconfig := shared.start(t)
	c, err := New(kubeconfig)
	require.NoError(t, err)
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(kubeconfig))
	require.NoError(t, err)
	config.WarningHandler = rest.NoWarnings{}
	core, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return c, core
}

// shared is one API for all tests of the package: they use namespaces of their own.
var shared sharedAPI

type sharedAPI struct {
	once       sync.Once
	kubeconfig string
	stop       func()
}

func (s *sharedAPI) start(t *testing.T) string {
	t.Helper()
	s.once.Do(func() { s.kubeconfig, s.stop = clustertest.Start(t) })
	if s.kubeconfig == "" {
		t.Fatal("the API of this package's tests did not start; see the first test that wanted it")
	}
	return s.kubeconfig
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.stop != nil {
		shared.stop()
	}
	os.Exit(code)
}

// in gives the name of a namespace that this run of the test has for itself.
func in(t *testing.T) string {
	return fmt.Sprintf("t%x", sha256.Sum256([]byte(t.Name()+run)))[:20]
}

var run = rand.Text()

func smallIn(t *testing.T, values map[string]any) Release {
	r := small(values)
	r.Namespace, r.NoWait = in(t), true // no controller runs
	return r
}

func must(t *testing.T, c *Client, r Release, want bool) {
	t.Helper()
	changed, err := c.Ensure(t.Context(), r, func(e event.Event) { t.Log(e.Kind, e.Message) })
	require.NoError(t, err)
	require.Equal(t, want, changed)
}

// account makes the account without which no pod is let in; the controller that makes it does not run here.
func account(t *testing.T, core kubernetes.Interface, namespace string) {
	t.Helper()
	_, err := core.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
}

// The charts of the lab install on a real API, and stand there as they say: the second time there is nothing to do.
func TestChartsOnAnAPI(t *testing.T) {
	c, core := api(t)
	for _, name := range []string{"databases", "chat"} {
		for _, file := range []string{"default", "all"} {
			t.Run(name+"/"+file, func(t *testing.T) {
				values, err := chartutil.ReadValuesFile(filepath.Join("../../charts", name, "ci", file+"-values.yaml"))
				require.NoError(t, err)
				r := Release{Name: name, Namespace: in(t), ChartDir: filepath.Join("../../charts", name), Values: values, NoWait: true}
				must(t, c, r, true)
				plan, err := c.Plan(t.Context(), r)
				require.NoError(t, err)
				require.Equal(t, Nothing, plan.Action, plan.Why)
				must(t, c, r, false)

				account(t, core, r.Namespace)
				letIn(t, core, r.Namespace)
				for range 2 {
					require.NoError(t, c.Remove(t.Context(), r.Namespace, name, time.Minute, nil))
				}
				left, err := core.AppsV1().Deployments(r.Namespace).List(t.Context(), metav1.ListOptions{})
				require.NoError(t, err)
				require.Empty(t, left.Items)
				state, err := c.Deployed(t.Context(), r.Namespace, name)
				require.NoError(t, err)
				require.False(t, state.Found)
			})
		}
	}
}

// letIn asks the API, by a dry run, whether it would let in the pods of every workload: the namespace enforces the pod
// security level that the chart names.
func letIn(t *testing.T, core kubernetes.Interface, namespace string) {
	t.Helper()
	ns, err := core.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "restricted", ns.Labels["pod-security.kubernetes.io/enforce"])
	templates := map[string]corev1.PodTemplateSpec{}
	deployments, err := core.AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, d := range deployments.Items {
		templates[d.Name] = d.Spec.Template
	}
	sets, err := core.AppsV1().StatefulSets(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, s := range sets.Items {
		claims := s.Spec.VolumeClaimTemplates
		for _, claim := range claims { // the controller adds them
			s.Spec.Template.Spec.Volumes = append(s.Spec.Template.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		}
		templates[s.Name] = s.Spec.Template
	}
	require.NotEmpty(t, templates)
	for name, template := range templates {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template.Spec}
		_, err := core.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		require.NoError(t, err, name)
	}
}

func TestDriftOnAnAPI(t *testing.T) {
	c, core := api(t)
	patch := func(t *testing.T, body string) {
		_, err := core.AppsV1().Deployments(in(t)).Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T)
		want []string
	}{
		{"nothing", func(*testing.T) {}, nil},
		{"missing", func(t *testing.T) {
			require.NoError(t, core.CoreV1().ConfigMaps(in(t)).Delete(t.Context(), "two", metav1.DeleteOptions{}))
			require.NoError(t, core.CoreV1().Services(in(t)).Delete(t.Context(), "web", metav1.DeleteOptions{}))
		}, []string{"ConfigMap two: missing", "Service web: missing"}},
		{"replicas", func(t *testing.T) { patch(t, `{"spec":{"replicas":0}}`) }, []string{"Deployment web: changed"}},
		{"image", func(t *testing.T) {
			patch(t, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"other"}]}}}}`)
		}, []string{"Deployment web: changed"}},
		{"secret", func(t *testing.T) {
			_, err := core.CoreV1().Secrets(in(t)).Patch(t.Context(), "password", types.MergePatchType, []byte(`{"data":{"password":"eA=="}}`), metav1.PatchOptions{})
			require.NoError(t, err)
		}, []string{"Secret password: changed"}},
		{"what others add is theirs", func(t *testing.T) {
			patch(t, `{"metadata":{"annotations":{"who":"me"}},"spec":{"template":{"metadata":{"annotations":{"restarted":"now"}}}}}`)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := smallIn(t, map[string]any{"password": "x-y-z"})
			must(t, c, r, true)
			tt.do(t)
			plan, err := c.Plan(t.Context(), r)
			require.NoError(t, err)
			slices.Sort(plan.Drift)
			require.Equal(t, tt.want, plan.Drift)
			must(t, c, r, len(tt.want) > 0)
			plan, err = c.Plan(t.Context(), r)
			require.NoError(t, err)
			require.Equal(t, Nothing, plan.Action, plan.Why)
		})
	}
}

func configMaps(t *testing.T, core kubernetes.Interface) []string {
	t.Helper()
	list, err := core.CoreV1().ConfigMaps(in(t)).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	names := []string{}
	for _, m := range list.Items {
		if m.Name != "kube-root-ca.crt" {
			names = append(names, m.Name)
		}
	}
	return names
}

// cutOff runs Ensure and ends it, as a kill would, when Helm is about to write objects: all its requests fail from then
// on, so that the release's record stays pending.
func cutOff(t *testing.T, c *Client, r Release, at string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := c.Ensure(ctx, r, func(e event.Event) {
		if strings.Contains(e.Message, at) {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	state, err := c.Deployed(t.Context(), r.Namespace, r.Name)
	require.NoError(t, err)
	require.Contains(t, state.Status, "pending")
}

func TestTakeOverOnAnAPI(t *testing.T) {
	c, core := api(t)
	values := func(names ...string) map[string]any { return map[string]any{"names": names} }
	t.Run("an install that was cut off before its objects", func(t *testing.T) {
		cutOff(t, c, smallIn(t, values("one")), "creating ")
		must(t, c, smallIn(t, values("one")), true)
		require.Equal(t, []string{"one"}, configMaps(t, core))
		must(t, c, smallIn(t, values("one")), false)
	})
	t.Run("an upgrade that was cut off, and other values", func(t *testing.T) {
		must(t, c, smallIn(t, values("one")), true)
		// It ends when its first new object is there.
		cutOff(t, c, smallIn(t, values("one", "two", "zzz")), "Created a new ConfigMap")
		require.Equal(t, []string{"one", "two"}, configMaps(t, core))
		must(t, c, smallIn(t, values("one", "three")), true)
		require.Equal(t, []string{"one", "three"}, configMaps(t, core))
		must(t, c, smallIn(t, values("one", "three")), false)
	})
	t.Run("values that are given no more fall back to the chart's", func(t *testing.T) {
		must(t, c, smallIn(t, values("three")), true)
		must(t, c, smallIn(t, nil), true)
		require.Equal(t, []string{"one", "two"}, configMaps(t, core))
	})
	t.Run("an install that was refused in part, and other values", func(t *testing.T) {
		r := smallIn(t, values("one", "two"))
		r.Values["port"] = 0
		_, err := c.Ensure(t.Context(), r, nil)
		require.ErrorContains(t, err, "spec.ports[0].port: Invalid value: 0")
		require.Equal(t, []string{"one", "two"}, configMaps(t, core))
		must(t, c, smallIn(t, values("two")), true)
		require.Equal(t, []string{"two"}, configMaps(t, core))
	})
	t.Run("a removal that was cut off", func(t *testing.T) {
		r := smallIn(t, values("one"))
		must(t, c, r, true)
		markUninstalling(t, c, r)
		require.NoError(t, core.CoreV1().Services(in(t)).Delete(t.Context(), "web", metav1.DeleteOptions{}))
		must(t, c, r, true)
		require.Equal(t, []string{"one"}, configMaps(t, core))
		markUninstalling(t, c, r)
		require.NoError(t, c.Remove(t.Context(), r.Namespace, r.Name, 0, nil))
		require.Empty(t, configMaps(t, core))
	})
	t.Run("removal of an upgrade that was cut off leaves nothing", func(t *testing.T) {
		must(t, c, smallIn(t, values("one")), true)
		cutOff(t, c, smallIn(t, values("two", "three")), "Created a new ConfigMap")
		require.NoError(t, c.Remove(t.Context(), in(t), "small", 0, nil))
		require.Empty(t, configMaps(t, core))
	})
}

func markUninstalling(t *testing.T, c *Client, r Release) {
	t.Helper()
	s, err := c.open(t.Context(), r.Namespace, func(string) {})
	require.NoError(t, err)
	last, err := s.cfg.Releases.Last(r.Name)
	require.NoError(t, err)
	last.Info.Status = release.StatusUninstalling
	require.NoError(t, s.cfg.Releases.Update(last))
}

func TestFailuresOnAnAPI(t *testing.T) {
	c, core := api(t)
	t.Run("a field that cannot change", func(t *testing.T) {
		must(t, c, smallIn(t, nil), true)
		dir := filepath.Join(t.TempDir(), "small")
		require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/small")))
		file := filepath.Join(dir, "templates", "all.yaml")
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "{app: web}", "{app: other}")), 0o600))
		r := smallIn(t, nil)
		r.ChartDir = dir
		_, err = c.Ensure(t.Context(), r, nil)
		require.ErrorContains(t, err, "field is immutable")
		must(t, c, smallIn(t, nil), true) // and back
	})
	t.Run("a secret stays one", func(t *testing.T) {
		r := smallIn(t, map[string]any{"rawSecret": "hunter2!"})
		r.Sensitive = []string{"hunter2!"}
		_, err := c.Ensure(t.Context(), r, func(e event.Event) { require.NotContains(t, e.Message, "hunter2") })
		require.ErrorContains(t, err, "base64")
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), base64.StdEncoding.EncodeToString([]byte("hunter2!")))
	})
	t.Run("an object of somebody else is not taken", func(t *testing.T) {
		_, err := core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: in(t)}}, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = core.CoreV1().ConfigMaps(in(t)).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = c.Ensure(t.Context(), smallIn(t, nil), nil)
		require.ErrorContains(t, err, `ConfigMap "one" in namespace "`+in(t)+`" exists and cannot be imported`)
		require.NoError(t, c.Remove(t.Context(), in(t), "small", 0, nil))
		require.Equal(t, []string{"one"}, configMaps(t, core))
	})
	t.Run("a test is interrupted", func(t *testing.T) {
		must(t, c, smallIn(t, nil), true)
		account(t, core, in(t))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := c.Check(ctx, in(t), "small", time.Minute, func(e event.Event) {
			if e.Message == "waiting for pod/small-test" {
				cancel()
			}
		})
		require.ErrorIs(t, err, context.Canceled)
		_, err = core.CoreV1().Pods(in(t)).Get(t.Context(), "small-test", metav1.GetOptions{})
		require.NoError(t, err)
		require.NoError(t, c.Remove(t.Context(), in(t), "small", time.Minute, nil))
		_, err = core.CoreV1().Pods(in(t)).Get(t.Context(), "small-test", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)
	})
	t.Run("a test fails", func(t *testing.T) {
		must(t, c, smallIn(t, nil), true)
		account(t, core, in(t))
		err := c.Check(t.Context(), in(t), "small", time.Minute, func(e event.Event) {
			if e.Message != "waiting for pod/small-test" {
				return
			}
			_, err := core.CoreV1().Pods(in(t)).Patch(t.Context(), "small-test", types.MergePatchType, []byte(
				`{"status":{"phase":"Failed","containerStatuses":[{"name":"test","image":"i","imageID":"i","ready":false,"restartCount":0,"state":{"terminated":{"exitCode":3}}}]}}`),
				metav1.PatchOptions{}, "status")
			if err != nil {
				t.Error(err)
			}
		})
		require.ErrorContains(t, err, "pod/small-test in namespace "+in(t)+" is not ready: it failed")
		require.ErrorContains(t, err, "container test ended with exit code 3")
	})
}

func TestConcurrentEnsureOnAnAPI(t *testing.T) {
	c, _ := api(t)
	var wg sync.WaitGroup
	var changes atomic.Int32
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() {
			changed, err := c.Ensure(t.Context(), smallIn(t, nil), nil)
			if changed {
				changes.Add(1)
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, changes.Load())
}

type never struct{}

func (never) WaitObjects(ctx context.Context, _ []kube.Object, _ event.Report) error {
	<-ctx.Done()
	return errors.New("deployment/web in namespace here is not ready: " + context.Cause(ctx).Error())
}

func TestTimeoutOnAnAPI(t *testing.T) {
	c, _ := api(t)
	must(t, c, smallIn(t, nil), true)
	c.waiter = never{}
	r := smallIn(t, nil)
	r.Timeout, r.NoWait = 8*time.Second, false // it has to come to the wait before
	_, err := c.Ensure(t.Context(), r, nil)
	require.ErrorContains(t, err, "deployment/web in namespace here is not ready: not done within 8s")
}
