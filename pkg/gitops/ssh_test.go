package gitops_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/labctl/labctl/pkg/gitops"
)

// sshServer is git behind SSH, which lets one key in.
func sshServer(t *testing.T) (remote gitops.Remote, bare string) {
	t.Helper()
	root := t.TempDir()
	run(t, root, "init", "--quiet", "--bare", "--initial-branch=main", "lab.git")
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	allowed, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	_, host, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	hostKey, err := ssh.NewSignerFromKey(host)
	require.NoError(t, err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, fmt.Errorf("%s is not let in", c.User())
		}
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(hostKey)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(t.Context(), conn, config)
		}
	}()
	known := filepath.Join(t.TempDir(), "known_hosts")
	host4 := fmt.Sprintf("[127.0.0.1]:%d", l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, os.WriteFile(known, []byte(host4+" "+string(ssh.MarshalAuthorizedKey(hostKey.PublicKey()))), 0o600))
	t.Setenv("SSH_KNOWN_HOSTS", known)
	bare = filepath.Join(root, "lab.git")
	return gitops.Remote{URL: "ssh://git@" + l.Addr().String() + bare, Branch: "main", SSHKey: pem.EncodeToMemory(block)}, bare
}

func serveSSH(ctx context.Context, conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return // whoever it was is not let in
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, asked, err := offered.Accept()
		if err != nil {
			return
		}
		for request := range asked {
			if request.Type != "exec" {
				_ = request.Reply(false, nil)
				continue
			}
			_ = request.Reply(true, nil)
			var command struct{ Text string }
			_ = ssh.Unmarshal(request.Payload, &command)
			program, path, _ := strings.Cut(command.Text, " ") // git-upload-pack '/path'
			cmd := exec.CommandContext(ctx, "git", strings.TrimPrefix(program, "git-"), strings.Trim(path, "'"))
			cmd.Stdin, cmd.Stdout, cmd.Stderr = channel, channel, channel.Stderr()
			cmd.WaitDelay = time.Second // git has ended, and who asked still has the channel open
			status := struct{ Code uint32 }{}
			if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
				status.Code = 1
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
			_ = channel.Close()
		}
	}
}

func TestAKeyForSSHReadsAndWrites(t *testing.T) {
	remote, bare := sshServer(t)
	byHand(t, bare, "README", "hello")
	edit := func(*gitops.Repository) (gitops.Files, string, error) {
		return gitops.Files{"environments/local/a": []byte("1")}, "a change", nil
	}
	_, changed, err := gitops.Update(t.Context(), remote, author, edit)
	require.NoError(t, err)
	require.True(t, changed)
	require.Contains(t, run(t, bare, "log", "--format=%an %s", "main"), "ada a change")

	stranger := remote
	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(other, "")
	require.NoError(t, err)
	stranger.SSHKey = pem.EncodeToMemory(block)
	_, err = gitops.Open(t.Context(), stranger)
	require.ErrorContains(t, err, "unable to authenticate")
	stranger.SSHKey = []byte("no key")
	_, err = gitops.Open(t.Context(), stranger)
	require.ErrorContains(t, err, "key for ssh://git@")

	t.Setenv("SSH_KNOWN_HOSTS", filepath.Join(t.TempDir(), "none"))
	_, err = gitops.Open(t.Context(), remote)
	require.Error(t, err, "a host that nobody knows is not trusted")
}
