package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/kube"
)

// outsideName is a name that the outside's name server alone knows.
const outsideName = "outside.labctl.test"

// outside is another host, in a network namespace of its own beside the machine: it has a web server, a name server, and a
// registry that wants a login.
type outside struct {
	ip   string
	etc  string // files that labctl is to see in the place of the machine's
	user authn.Basic

	pages *http.ServeMux // of the web server
}

// serveGit serves the repositories in dir at /git/, to read.
func (o *outside) serveGit(t *testing.T, dir string) {
	t.Helper()
	git, err := exec.LookPath("git")
	require.NoError(t, err)
	o.pages.Handle("/git/", &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Root: "/git", Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"},
	})
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	// Of the range for tests of devices between networks (RFC 2544), where nobody's network is.
	third := os.Getpid() % 250
	o := &outside{ip: fmt.Sprintf("198.18.%d.2", third), etc: t.TempDir(), user: authn.Basic{Username: "student", Password: "a password of the test"}}
	device := fmt.Sprintf("labout%d", os.Getpid())
	web, images, names := o.open(t, device, fmt.Sprintf("198.18.%d.1", third))

	o.pages = http.NewServeMux()
	o.pages.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "hello from %s", r.Host) // the pod's output is compared
	})
	said := httptest.NewUnstartedServer(o.pages)
	said.Listener = web
	said.Start()
	t.Cleanup(said.Close)
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	private := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != o.user.Username || password != o.user.Password {
			w.Header().Set("WWW-Authenticate", `Basic realm="outside"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, r)
	}))
	private.Listener = images
	private.Start()
	t.Cleanup(private.Close)
	go o.answer(names) // ends with the socket

	o.write(t, "resolv.conf", "nameserver "+o.ip+"\n")
	o.write(t, "containerd/certs.d/"+o.registry()+"/hosts.toml", fmt.Sprintf("[host.\"http://%s\"]\n", o.registry()))
	login, err := o.user.Authorization()
	require.NoError(t, err)
	b, err := login.MarshalJSON()
	require.NoError(t, err)
	o.write(t, "docker/config.json", fmt.Sprintf(`{"auths":{%q:%s}}`, o.registry(), b))
	return o
}

func (o *outside) registry() string { return o.ip + ":5000" }

func (o *outside) write(t *testing.T, file, content string) {
	t.Helper()
	path := filepath.Join(o.etc, file)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// open makes the namespace and the link to it, and listens there. The namespace goes with the last of the sockets.
func (o *outside) open(t *testing.T, device, machineIP string) (web, images net.Listener, names net.PacketConn) {
	t.Helper()
	failed := make(chan error)
	go func() {
		failed <- func() (err error) {
			// The thread is never given back: it ends with this goroutine, and nobody else gets its namespace.
			runtime.LockOSThread()
			machine, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer machine.Close()
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			own, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer own.Close()
			if err := unix.Setns(int(machine.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: device}, PeerName: "eth0", PeerNamespace: netlink.NsFd(own.Fd())}
			if err := netlink.LinkAdd(pair); err != nil {
				return err
			}
			t.Cleanup(func() { _ = netlink.LinkDel(pair) }) // it went with the namespace, else
			if err := bringUp(device, machineIP); err != nil {
				return err
			}
			if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			if err := bringUp("eth0", o.ip); err != nil {
				return err
			}
			if web, err = net.Listen("tcp4", o.ip+":80"); err != nil {
				return err
			}
			if images, err = net.Listen("tcp4", o.registry()); err != nil {
				return err
			}
			names, err = net.ListenPacket("udp4", o.ip+":53")
			return err
		}()
	}()
	require.NoError(t, <-failed)
	t.Cleanup(func() { _ = names.Close() })
	return web, images, names
}

func bringUp(device, ip string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(ip + "/30")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// answer is a name server that knows one name.
func (o *outside) answer(conn net.PacketConn) {
	packet := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(packet)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(packet[:n]) != nil || len(m.Questions) == 0 {
			continue
		}
		m.Response, m.Additionals = true, nil
		q := m.Questions[0]
		switch {
		case !strings.EqualFold(q.Name.String(), outsideName+"."):
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(o.ip).To4())},
			}}
		}
		if b, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(b, from) // who gets no answer asks again
		}
	}
}

// command is labctl on a machine whose name server and registries are the outside's.
func (o *outside) command(l *testLab, args ...string) *exec.Cmd {
	inner := l.command(l.t.Context(), args...)
	cmd := exec.Command("sh", append([]string{"-c", `mount -n --bind "$0/resolv.conf" /etc/resolv.conf && mount -n --bind "$0/containerd" /etc/containerd && exec "$@"`, o.etc}, inner.Args...)...)
	cmd.Dir = inner.Dir
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+filepath.Join(o.etc, "docker"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // the mounts are the command's own
	return cmd
}

// push makes an image of test/e2e/reach in the outside's registry.
func (o *outside) push(t *testing.T) (reference string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "reach")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./reach")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(program)
	require.NoError(t, err)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "reach", Mode: 0o755, Size: int64(len(b))}))
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	require.NoError(t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	require.NoError(t, err)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, Config: v1.Config{Entrypoint: []string{"/reach"}, User: "65532:65532"},
		RootFS: must(t, img).RootFS,
	})
	require.NoError(t, err)
	reference = o.registry() + "/test/reach:1"
	tag, err := name.NewTag(reference, name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, img, remote.WithAuth(&o.user)))
	return reference
}

func must(t *testing.T, img v1.Image) *v1.ConfigFile {
	t.Helper()
	c, err := img.ConfigFile()
	require.NoError(t, err)
	return c
}

// reach lets a pod of an image from the outside's registry get the outside's page.
func (o *outside) reach(l *testLab) {
	t, image := l.t, o.push(l.t)
	// What listens on the machine's loopback is not for pods.
	own := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(own.Close)
	_, port, err := net.SplitHostPort(own.Listener.Addr().String())
	require.NoError(t, err)

	client := l.kube()
	manifest := fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: { name: reach }
---
apiVersion: v1
kind: Pod
metadata: { name: reach, namespace: reach }
spec:
  restartPolicy: Never
  containers: [{ name: reach, image: %q, args: ["http://%s/", "http://10.41.0.2:%s/"] }]`, image, outsideName, port)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	pod := kube.Object{GVK: corev1.SchemeGroupVersion.WithKind("Pod"), Namespace: "reach", Name: "reach", Complete: true}
	require.NoError(t, client.Apply(ctx, kube.Set{Name: "reach"}, []byte(manifest), nil))
	require.NoError(t, client.WaitObjects(ctx, []kube.Object{pod}, nil))
	logs, err := client.Core.CoreV1().Pods("reach").GetLogs("reach", &corev1.PodLogOptions{}).DoRaw(ctx)
	require.NoError(t, err)
	require.Equal(t, "hello from "+outsideName+"\n", string(logs))
	require.NoError(t, client.Core.CoreV1().Namespaces().Delete(ctx, "reach", metav1.DeleteOptions{}))
}
