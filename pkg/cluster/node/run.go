package node

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/cluster/cgroup"
)

// Run is the node's life: it returns when the node was told to stop, or with the reason for which it cannot go on.
func Run(configPath string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("must be process 1 of its own PID namespace, is %d (labctl starts it)", os.Getpid())
	}
	b, err := os.ReadFile(configPath) //nolint:gosec // G304: the path is labctl's own
	if err != nil {
		return err
	}
	var config Config
	if err := json.Unmarshal(b, &config); err != nil {
		return fmt.Errorf("%s: %w", configPath, err)
	}

	// What was handed over is for whom the node gives it to.
	for fd := 3; fd <= config.machineMountsFD(); fd++ {
		unix.CloseOnExec(fd)
	}
	if err := AwaitStart(os.NewFile(uintptr(config.gateFD()), "gate")); err != nil {
		return err
	}

	// Taken before anything is started, so that no signal and no dead child is missed.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGCHLD)

	if err := unix.Sethostname([]byte(config.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := setUpMounts(config); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	if err := setUpNetwork(config); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	var namespaces []uintptr
	if config.Egress != nil {
		own, err := os.Open("/proc/self/ns/net")
		if err != nil {
			return err
		}
		defer own.Close()
		namespaces = []uintptr{uintptr(config.machineNetworkFD()), uintptr(config.machineMountsFD()), own.Fd()}
	}
	failed := make(chan error, len(config.Proxies)+len(config.Relays))
	stopProxies, err := serveProxies(config.Proxies, failed)
	if err != nil {
		return fmt.Errorf("proxies: %w", err)
	}
	defer stopProxies()
	stopRelays, err := serveRelays(config.Relays, failed)
	if err != nil {
		return fmt.Errorf("relays: %w", err)
	}
	defer stopRelays()

	s := newSupervisor(options{
		dir: filepath.Join(Base, "cluster", config.Home), components: config.Components,
		prepare: prepare, join: join, namespaceFlags: Namespaces,
		// In this namespace -1 is every process of the node but this one.
		signalOthers: func(sig unix.Signal) error { return unix.Kill(-1, sig) },
		failed:       failed,
		namespaces:   namespaces,
	})
	return s.run(signals)
}

// prepare makes the control group of another node anew. Of what is left of one that was killed, the kubelet would look for each
// dead container, for seconds each.
func prepare(other Other) error {
	if err := cgroup.Remove(context.Background(), other.Cgroup); err != nil {
		return err
	}
	return cgroup.Make(other.Cgroup)
}
