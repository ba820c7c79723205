// Package clustertest gives tests a real Kubernetes API: the embedded node's own etcd and kube-apiserver, without a
// node, so that objects come and go and pods do not. It needs no root.
package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/kube"
)

// Start starts an API for as long as the test's process lasts, or until stop, and gives the content of a kubeconfig
// with all rights. The program is built where the cache does not have it, which takes minutes the first time.
func Start(t *testing.T) (kubeconfig string, stop func()) {
	t.Helper()
	root, err := filepath.Abs(repository(t))
	require.NoError(t, err)
	cache := os.Getenv("LABCTL_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		require.NoError(t, err)
		cache = filepath.Join(user, "labctl")
	}
	builder := &cluster.Builder{Root: root, CacheDir: cache}
	program, err := builder.Program(t.Context(), "kubernetes", event.Report(nil))
	require.NoError(t, err)

	dir, err := os.MkdirTemp("", "labctl-api-") // outlives the test that starts it
	require.NoError(t, err)
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
		_ = os.RemoveAll(dir) // a temporary directory
	}
	defer func() {
		if t.Failed() {
			stop()
		}
	}()
	client, peer, api := freeport.Of(t).Port, freeport.Of(t).Port, freeport.Of(t).Port
	token := rand.Text()
	write(t, dir, "tokens.csv", token+",admin,admin,system:masters\n")
	write(t, dir, "service-account.key", key(t))
	etcd := fmt.Sprintf("http://127.0.0.1:%d", client)
	stops = append(stops, run(t, dir, program, "etcd", "--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", peer)))
	stops = append(stops, run(t, dir, program, "kube-apiserver", "--etcd-servers="+etcd, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", api),
		"--cert-dir="+filepath.Join(dir, "certificates"), "--token-auth-file="+filepath.Join(dir, "tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-key-file="+filepath.Join(dir, "service-account.key"),
		"--service-account-signing-key-file="+filepath.Join(dir, "service-account.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.99.0.0/16"))

	kubeconfig = fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:%d", insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: %s}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
`, api, token)
	k, err := kube.New([]byte(kubeconfig))
	require.NoError(t, err)
	require.NoError(t, k.WaitAPI(t.Context(), 2*time.Minute))
	return kubeconfig, stop
}

// repository finds the module's root from a test's working directory.
func repository(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "images", "kubernetes", "go.mod")); err == nil {
			return dir
		}
	}
	require.FailNow(t, "the test does not run in the repository")
	return ""
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
}

func key(t *testing.T) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(k)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// run starts a part of the node. Pdeathsig ends it also where the test is killed; it is bound to the thread that
// starts it, which therefore must not end before.
func run(t *testing.T, dir, program, part string, args ...string) (stop func()) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, part+".log"))
	require.NoError(t, err)
	cmd := exec.Command(program, append([]string{part}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed by stop
		}
	}()
	require.NoError(t, <-started)
	return func() {
		_ = cmd.Process.Kill() // ended already, else
		<-ended
		if t.Failed() {
			if b, err := os.ReadFile(log.Name()); err == nil {
				fmt.Fprintf(os.Stderr, "%s:\n%s\n", part, b[max(0, len(b)-4000):])
			}
		}
		_ = log.Close() // a help for people
	}
}
