package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/stretchr/testify/require"
)

// policies is who enforces policies on one node: it gives every announcement the answer.
func policies(t *testing.T, socket, answer string) (heard <-chan Announcement) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	all := make(chan Announcement, 8)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, err := bufio.NewReader(conn).ReadBytes('\n')
			var a Announcement
			if err == nil && json.Unmarshal(line, &a) == nil {
				all <- a
				_, _ = fmt.Fprintln(conn, answer)
			}
			_ = conn.Close()
		}
	}()
	return all
}

func TestAPodsAddressIsAnnouncedToAllNodesBeforeItRuns(t *testing.T) {
	dir := t.TempDir()
	own, other, dead := filepath.Join(dir, "own"), filepath.Join(dir, "other"), filepath.Join(dir, "dead")
	heardHere, heardThere := policies(t, own, "ok"), policies(t, other, "some trouble")
	conf := fmt.Sprintf(`{"cniVersion":"0.4.0","name":"labctl","type":"labctl-policies","own":%q,"others":[%q,%q],"hostIP":"10.40.0.3",
		"prevResult":{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.42.1.7/24"}]}}`, own, other, dead)
	stdout := os.Stdout
	t.Cleanup(func() { os.Stdout = stdout })
	result, err := os.Create(filepath.Join(dir, "result"))
	require.NoError(t, err)
	os.Stdout = result // where a plugin writes
	err = add(&skel.CmdArgs{StdinData: []byte(conf), Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=chat;K8S_POD_NAME=auth-1;K8S_POD_INFRA_CONTAINER_ID=x"})
	os.Stdout = stdout
	require.NoError(t, err, "another node's trouble keeps no pod from running here")
	want := Announcement{Namespace: "chat", Name: "auth-1", IP: "10.42.1.7", HostIP: "10.40.0.3"}
	require.Equal(t, want, <-heardHere)
	require.Equal(t, want, <-heardThere)
	said, err := os.ReadFile(filepath.Join(dir, "result"))
	require.NoError(t, err)
	require.Contains(t, string(said), "10.42.1.7/24", "the result is handed on")
}

func TestAPodDoesNotRunWithoutItsPolicies(t *testing.T) {
	dir := t.TempDir()
	a := Announcement{Namespace: "chat", Name: "auth-1"}
	policies(t, filepath.Join(dir, "troubled"), "iptables: out of memory")
	err := announceToAll(t.Context(), filepath.Join(dir, "troubled"), nil, a)
	require.ErrorContains(t, err, "the NetworkPolicies for chat/auth-1 are not in force")
	require.ErrorContains(t, err, "iptables: out of memory")

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, announceToAll(ctx, filepath.Join(dir, "none"), nil, a), "no such file")
}

func TestAPodWaitsForThePoliciesOfANodeThatStarts(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	done := make(chan error, 1)
	go func() { done <- announceToAll(t.Context(), socket, nil, Announcement{Name: "early"}) }()
	require.Equal(t, "early", (<-policies(t, socket, "ok")).Name)
	require.NoError(t, <-done)
}

func TestTheMachinesPluginsAreFoundBesideOurs(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "cni")
	require.NoError(t, os.WriteFile(filepath.Join(from, "bridge"), nil, 0o600))
	require.NoError(t, linkPlugins(from, to, "/run/labctl/bin/node"))
	target, err := os.Readlink(filepath.Join(to, "bridge"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(from, "bridge"), target)
	target, err = os.Readlink(filepath.Join(to, Plugin))
	require.NoError(t, err)
	require.Equal(t, "/run/labctl/bin/node", target)
}
