package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/kube"
)

// gitOpsStatus is the part of `labctl gitops status --json` that the test reads.
type gitOpsStatus struct {
	Head struct {
		Commit  string `json:"commit"`
		Author  string `json:"author"`
		Message string `json:"message"`
	} `json:"head"`
	Pin *struct {
		Reason string `json:"reason"`
	} `json:"pin"`
	Applications []struct {
		Name    string `json:"name"`
		Sync    string `json:"sync"`
		Health  string `json:"health"`
		Message string `json:"message"`
	} `json:"applications"`
}

func (g *argo) status() gitOpsStatus {
	g.t.Helper()
	out, _ := exec.Command(g.binary, "--file", g.file, "gitops", "status", "--json").Output() // 1 where something is not well
	var s gitOpsStatus
	require.NoError(g.t, json.Unmarshal(out, &s), "%s", out)
	return s
}

// chat has Argo CD make the chat of what is in Git, and changes it in each way.
func (g *argo) chat() {
	g.part("Helm installs the chat, and Argo CD takes it over and gives it back", g.handedOver)
	g.part("up again has nothing to do", g.nothingToDo)
	g.part("what is shipped is a commit", g.shippedByGit)
	g.part("a service that does not start is said so and the old one stays", g.badService)
	g.part("what is changed by hand is healed", g.healed)
	g.part("what others commit stays, and what both change is said", g.shared)
	g.part("a rollback holds", g.rolledBack)
	g.part("a shadow's version is promoted by a commit, and taken back by one", g.shadowPromoted)
	g.part("the password is rotated", g.passwords)
	g.part("the repository is away, and comes back", g.unreachable)
	g.part("an application from a repository elsewhere", g.foreign)
	g.part("killed at each step, up brings Argo CD and the chat", g.killedInBetween)
	g.part("what one environment has is promoted to another in its cluster", g.promoted)
	g.part("an Argo CD that was deleted comes back", g.rebuilt)
}

// pods gives the chat's pods with the number of their containers' restarts.
func (g *argo) pods() map[string]int32 {
	g.t.Helper()
	list, err := g.client.Core.CoreV1().Pods("chat").List(g.t.Context(), metav1.ListOptions{})
	require.NoError(g.t, err)
	out := map[string]int32{}
	for _, p := range list.Items {
		out[p.Name] = p.Status.ContainerStatuses[0].RestartCount
	}
	return out
}

// stillThere wants pods that were there to be there, as they were. There may be more: the gateways scale with their load.
func (g *argo) stillThere(before map[string]int32) {
	g.t.Helper()
	now := g.pods()
	for name, restarts := range before {
		require.Contains(g.t, now, name)
		require.Equal(g.t, restarts, now[name], name)
	}
}

func (g *argo) handedOver(t *testing.T) {
	g.run("up", "--direct")
	require.Contains(t, g.run("helm", "list", "--namespace", "chat"), "chat")
	before := g.pods()
	k := startTalk(t, g.url())
	k.more(10)
	loaded := g.load(t)
	g.run("up")
	s := g.status()
	require.Len(t, s.Applications, 8)
	for _, a := range s.Applications {
		require.Equal(t, "Synced Healthy", a.Sync+" "+a.Health, "%s %s", a.Name, a.Message)
	}
	g.stillThere(before)
	require.NotContains(t, g.run("helm", "list", "--namespace", "chat"), "deployed", "it has one owner")
	groups, err := g.client.Core.AppsV1().Deployments("chat").Get(t.Context(), "groups", metav1.GetOptions{})
	require.NoError(t, err)
	require.Contains(t, groups.Annotations["argocd.argoproj.io/tracking-id"], "local-chat-groups", "without it Argo CD does not see what becomes of it")
	k.more(10)
	g.run("up", "--direct")
	require.Empty(t, g.status().Applications)
	g.stillThere(before)
	require.Contains(t, g.run("helm", "list", "--namespace", "chat"), "chat")
	k.more(10)
	out, code := g.try(t.Context(), "plan")
	require.Equal(t, 2, code, out)
	require.Contains(t, out, "the way to install it changed")
	g.run("up")
	g.stillThere(before)
	k.more(10)
	k.finish()
	loaded()
}

// load runs `labctl load` from now on; loaded waits for its end, and wants that it lost nothing.
func (g *argo) load(t *testing.T) (loaded func()) {
	t.Helper()
	type result struct {
		out  string
		code int
	}
	ended := make(chan result, 1)
	go func() {
		out, code := g.try(t.Context(), "load", "--duration", "60s", "--rate", "20")
		ended <- result{out, code}
	}()
	return func() {
		r := <-ended
		require.Zero(t, r.code, r.out)
		t.Log(r.out)
	}
}

func (g *argo) shippedByGit(t *testing.T) {
	auth, groups := g.image("auth"), g.image("groups")
	undo := g.edit(authMain, "func main() {", "func main() {\n\tprintln(\"a changed auth starts\")\n")
	defer undo()
	g.run("ship", "auth")
	require.NotEqual(t, auth, g.image("auth"))
	require.Equal(t, groups, g.image("groups"))
	head := g.status().Head
	require.Equal(t, "local: images of chat\n\nlabctl ship auth", head.Message)
	require.Contains(t, g.run("gitops", "log"), "local: images of chat")
}

// showArgoCD logs what Argo CD's controller did in the last minutes.
func (g *argo) showArgoCD() {
	g.t.Helper()
	for _, args := range [][]string{
		{"kubectl", "--", "--namespace", "argocd", "get", "applications", "--output=yaml"},
		{"kubectl", "--", "--namespace", "argocd", "get", "pods"},
		{"kubectl", "--", "--namespace", "argocd", "logs", "argocd-application-controller-0", "--since=3m", "--tail=2000"},
	} {
		out, _ := g.try(context.WithoutCancel(g.t.Context()), args...)
		g.t.Logf("labctl %s\n%s", strings.Join(args, " "), out)
	}
}

func (g *argo) healed(t *testing.T) {
	defer func() {
		if t.Failed() {
			g.showArgoCD()
		}
	}()
	deployments := g.client.Core.AppsV1().Deployments("chat")
	_, err := deployments.Patch(t.Context(), "presence", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.NoError(t, g.client.Core.CoreV1().Services("chat").Delete(t.Context(), "groups", metav1.DeleteOptions{}))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		d, err := deployments.Get(t.Context(), "presence", metav1.GetOptions{})
		require.NoError(c, err)
		require.EqualValues(c, 1, *d.Spec.Replicas)
		_, err = g.client.Core.CoreV1().Services("chat").Get(t.Context(), "groups", metav1.GetOptions{})
		require.NoError(c, err)
	}, time.Minute, 100*time.Millisecond)
	g.run("gitops", "wait")
}

// clone gives a clone of the repository, as a student makes one.
func (g *argo) clone() (dir string, git func(args ...string) string) {
	g.t.Helper()
	dir = filepath.Join(g.t.TempDir(), "clone")
	helper := "credential.helper=!" + g.binary + " --file " + g.file + " gitops credential"
	git = func(args ...string) string {
		g.t.Helper()
		cmd := exec.CommandContext(g.t.Context(), "git", append([]string{"-c", "credential.helper=", "-c", helper, "-c", "user.name=grace", "-c", "user.email=grace@lab.test"}, args...)...)
		if args[0] != "clone" {
			cmd.Dir = dir
		}
		cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "no_proxy=*")
		out, err := cmd.CombinedOutput()
		require.NoError(g.t, err, "git %s\n%s", strings.Join(args, " "), out)
		return string(out)
	}
	git("clone", "--quiet", strings.TrimSpace(g.run("gitops", "url")), dir)
	return dir, git
}

func (g *argo) shared(t *testing.T) {
	dir, git := g.clone()
	values := filepath.Join(dir, "environments/local/chat/values.yaml")
	change := func(old, replacement, message string) {
		text, err := os.ReadFile(values)
		require.NoError(t, err)
		require.Contains(t, string(text), old)
		require.NoError(t, os.WriteFile(values, []byte(strings.Replace(string(text), old, replacement, 1)), 0o600))
		git("commit", "--quiet", "--all", "--message", message)
		git("push", "--quiet")
	}
	change("secretsVersion:", "logLevel: debug\nsecretsVersion:", "debug")
	g.run("gitops", "wait")
	level := func() string {
		d, err := g.client.Core.AppsV1().Deployments("chat").Get(t.Context(), "groups", metav1.GetOptions{})
		require.NoError(t, err)
		for _, e := range d.Spec.Template.Spec.Containers[0].Env {
			if e.Name == "LOG_LEVEL" {
				return e.Value
			}
		}
		return ""
	}
	require.Equal(t, "debug", level())
	g.run("up")
	require.Equal(t, "debug", level(), "what Git alone changed stays")

	const stack = "stacks/local/5-release/stack.hcl"
	undo := g.edit(stack, "partitions     = 3", "partitions     = 4")
	out, code := g.try(t.Context(), "up")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "environments/local/chat/values.yaml changed in the lab, and in Git by grace")
	require.Contains(t, out, "labctl gitops push")
	undo()

	// What does not render is said with file and line, and what runs stays.
	before := g.pods()
	broken := filepath.Join(dir, "environments/local/chat/chart/templates/broken.yaml")
	require.NoError(t, os.WriteFile(broken, []byte("{{ .Values.logLevel | nofunction }}\n"), 0o600))
	git("add", "--all")
	git("commit", "--quiet", "--message", "a mistake")
	git("push", "--quiet")
	for _, command := range []string{"wait", "status"} {
		out, code := g.try(t.Context(), "gitops", command)
		require.Equal(t, 1, code, command)
		require.Contains(t, out, `templates/broken.yaml:1): function "nofunction" not defined`, command)
	}
	g.stillThere(before)
	git("revert", "--no-edit", "HEAD")
	git("push", "--quiet")
	g.run("gitops", "wait")

	out, code = g.try(t.Context(), "gitops", "diff")
	require.Zero(t, code, out)
	git("revert", "--no-edit", "HEAD~2")
	git("push", "--quiet")
	g.run("gitops", "wait")
	require.Equal(t, "info", level())
}

func (g *argo) rolledBack(t *testing.T) {
	undo := g.edit(authMain, "func main() {", "func main() {\n\tprintln(\"auth, the second\")\n")
	defer undo()
	first := g.image("auth")
	g.run("ship", "auth")
	second := g.image("auth")
	require.NotEqual(t, first, second)
	g.run("rollback", "local", "--reason", "log-ins fail")
	require.Equal(t, first, g.image("auth"))
	require.Equal(t, "log-ins fail", g.status().Pin.Reason)
	g.run("up")
	require.Equal(t, first, g.image("auth"), "up does not undo it")
	g.edit(authMain, "func main() {", "func main() {\n\tprintln(\"auth, the third\")\n")
	out, code := g.try(t.Context(), "ship", "auth")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "log-ins fail")
	require.Contains(t, out, "rollback local --undo")
	g.run("rollback", "local", "--undo")
	require.Equal(t, second, g.image("auth"))
	require.Nil(t, g.status().Pin)
	out, code = g.try(t.Context(), "rollback", "local", "--undo")
	require.Equal(t, 1, code, out)
}

// shadowPromoted wants that Argo CD, which makes of the cluster what Git has, leaves a version that was promoted.
func (g *argo) shadowPromoted(t *testing.T) {
	before := g.image("messaging")
	k := startTalk(t, g.url())
	changes := func(args ...string) (image string) {
		g.run(append([]string{"shadow", args[0], "messaging"}, args[1:]...)...)
		require.Equal(t, "local: images of chat\n\nlabctl shadow "+args[0]+" messaging", g.status().Head.Message)
		image = g.image("messaging")
		g.run("gitops", "wait")
		require.Equal(t, image, g.image("messaging"))
		k.more(10)
		return image
	}
	g.run("shadow", "start", "messaging", "--working-tree", "--tags", "faulty_memory")
	k.more(10)
	require.NotEqual(t, before, changes("promote", "--force", "--reason", "a test of the way", "--watch", "5s"))
	require.Equal(t, before, changes("rollback"))
	k.finish()
}

func (g *argo) passwords(t *testing.T) {
	seen := map[string]bool{strings.TrimSpace(g.run("argocd", "password")): true}
	for range 2 {
		seen[strings.TrimSpace(g.run("argocd", "password", "--rotate"))] = true
	}
	require.Len(t, seen, 3)
	file := filepath.Join(g.stateDir(), "argocd", "password")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, os.Remove(file))
	seen[strings.TrimSpace(g.run("argocd", "password"))] = true
	require.Len(t, seen, 4, "a machine that knows none gives Argo CD a new one")
	out, code := g.try(t.Context(), "argocd", "open")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "labctl gitops status")
}

// unreachable takes the Git server away. What runs stays, what needs it says so, and up brings it back.
func (g *argo) unreachable(t *testing.T) {
	before := g.pods()
	servers := g.client.Core.AppsV1().StatefulSets(argocd.Namespace)
	_, err := servers.Patch(t.Context(), "git", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		s, err := servers.Get(t.Context(), "git", metav1.GetOptions{})
		return err == nil && s.Status.Replicas == 0
	}, time.Minute, 100*time.Millisecond)
	undo := g.edit(authMain, "func main() {", "func main() {\n\tprintln(\"while the repository was away\")\n")
	defer undo()
	auth := g.image("auth")
	out, code := g.try(t.Context(), "ship", "auth")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "the lab's Git server")
	require.Equal(t, auth, g.image("auth"))
	g.stillThere(before)
	g.run("up")
	require.NotEqual(t, auth, g.image("auth"), "it was delivered once the repository was back")
	for _, a := range g.status().Applications {
		require.Equal(t, "Synced Healthy", a.Sync+" "+a.Health, "%s %s", a.Name, a.Message)
	}
}

// foreign has Argo CD make what is in a repository that is none of the lab's.
func (g *argo) foreign(t *testing.T) {
	repository := filepath.Join(t.TempDir(), "elsewhere.git")
	g.git(t, filepath.Dir(repository), "init", "-q", "--bare", "-b", "main", repository)
	tree := filepath.Join(t.TempDir(), "tree")
	g.git(t, filepath.Dir(repository), "clone", "-q", repository, tree)
	for file, content := range map[string]string{
		"shop/Chart.yaml":          "apiVersion: v2\nname: shop\nversion: 0.1.0\n",
		"shop/values.yaml":         "sells: apples\n",
		"shop/templates/shop.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: shop }\ndata: { sells: {{ .Values.sells }} }\n",
	} {
		path := filepath.Join(tree, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	g.git(t, tree, "add", ".")
	g.git(t, tree, "commit", "-q", "-m", "the shop")
	g.git(t, tree, "push", "-q", "origin", "HEAD:main")
	o := newOutside(t)
	o.serveGit(t, filepath.Dir(repository))
	require.NoError(t, g.client.Apply(t.Context(), kube.Set{Name: "e2e-foreign", Namespace: argocd.Namespace}, fmt.Appendf(nil, `apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: shop
  finalizers: [resources-finalizer.argocd.argoproj.io]
spec:
  project: default
  source: { repoURL: "http://%s/git/elsewhere.git", targetRevision: main, path: shop }
  destination: { server: https://kubernetes.default.svc, namespace: shop }
  syncPolicy: { automated: {}, syncOptions: [CreateNamespace=true] }
`, o.ip), nil))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		shop, err := g.client.Core.CoreV1().ConfigMaps("shop").Get(t.Context(), "shop", metav1.GetOptions{})
		require.NoError(c, err)
		require.Equal(c, "apples", shop.Data["sells"])
	}, 2*time.Minute, 200*time.Millisecond)
	require.NoError(t, g.applications.Delete(t.Context(), "shop", metav1.DeleteOptions{}))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := g.client.Core.CoreV1().ConfigMaps("shop").Get(t.Context(), "shop", metav1.GetOptions{})
		require.True(c, apierrors.IsNotFound(err), "it goes with its application: %v", err)
	}, time.Minute, 200*time.Millisecond)
}

func (g *argo) git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=e2e", "-c", "user.email=e2e@labctl.test"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
}

// killedInBetween takes Argo CD away with the chat, and kills up at each of the steps in which it brings them back.
func (g *argo) killedInBetween(t *testing.T) {
	g.run("down", "argocd")
	for _, step := range []string{
		"4-argocd/release argocd", "waiting for deployment/argocd", "5-release/image auth", "5-release/release secrets", "5-release/release chat", "waiting for Argo CD",
	} {
		_, code, seen := g.interruptAt(step, syscall.SIGKILL, "up", "--json")
		require.True(t, seen, "up never came to %q", step)
		require.Equal(t, -1, code)
	}
	g.run("up")
	for _, a := range g.status().Applications {
		require.Equal(t, "Synced Healthy", a.Sync+" "+a.Health, "%s %s", a.Name, a.Message)
	}
	g.nothingToDo(t)
}

// promoted has a second environment in the first one's cluster, with a chat of its own.
func (g *argo) promoted(t *testing.T) {
	b, err := os.ReadFile(g.file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(g.file, append(b, "\nenvironment \"prod\" {\n  cluster_of = \"local\"\n  gitops {}\n}\n"...), 0o600))
	defer func() { require.NoError(t, os.WriteFile(g.file, b, 0o600)) }()
	require.Contains(t, g.run("up", "-e", "prod"), "http://prod.localhost:")
	defer g.run("down", "-e", "prod")
	k := startTalk(t, strings.Replace(g.url(), "127.0.0.1", "prod.localhost", 1))
	k.more(10)
	first := g.image("auth")
	require.Equal(t, first, g.imageIn("chat-prod", "auth"))

	undo := g.edit(authMain, "func main() {", "func main() {\n\tprintln(\"auth, to be promoted\")\n")
	defer undo()
	g.run("ship", "auth")
	second := g.image("auth")
	require.NotEqual(t, first, second)
	require.Equal(t, first, g.imageIn("chat-prod", "auth"))

	out, code := g.try(t.Context(), "promote", "local", "prod")
	require.Equal(t, 1, code, "nobody agreed: %s", out)
	_, digest, _ := strings.Cut(second, "@")
	require.Contains(t, out, digest, "what changes is shown")
	require.Equal(t, first, g.imageIn("chat-prod", "auth"))
	g.run("promote", "local", "prod", "--yes")
	require.Equal(t, second, g.imageIn("chat-prod", "auth"))
	require.Contains(t, g.run("gitops", "log", "-e", "prod"), "promote")

	g.run("rollback", "prod", "--reason", "log-ins fail")
	require.Equal(t, first, g.imageIn("chat-prod", "auth"))
	require.Equal(t, second, g.image("auth"), "the other environment stays as it is")
	g.run("up", "-e", "prod")
	require.Equal(t, first, g.imageIn("chat-prod", "auth"), "automation does not undo it")
	out, code = g.try(t.Context(), "promote", "local", "prod", "--yes")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "log-ins fail")
	g.run("rollback", "prod", "--undo")
	require.Equal(t, second, g.imageIn("chat-prod", "auth"))
	k.more(10)
	k.finish()

	out, code = g.try(t.Context(), "down")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "has the cluster of environment prod, too")
	require.Equal(t, second, g.image("auth"), "nothing was done")
}

func (g *argo) rebuilt(t *testing.T) {
	require.NoError(t, g.client.Core.CoreV1().Namespaces().Delete(t.Context(), "argocd", metav1.DeleteOptions{}))
	g.run("up")
	for _, a := range g.status().Applications {
		require.Equal(t, "Synced Healthy", a.Sync+" "+a.Health, "%s %s", a.Name, a.Message)
	}
}
