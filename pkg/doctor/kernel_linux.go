package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// apart runs trial on a thread that ends with it, so that the namespaces it makes vanish with what is in them.
func apart(ctx context.Context, trial func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- trial()
			return // without unlocking: a thread with other namespaces must not be used again
		}
		// The first thread outlives its goroutines, and /proc/self shows its namespaces as the process's. As long as it is
		// held here, the trial gets another.
		defer runtime.UnlockOSThread()
		result <- apart(ctx, trial)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryNamespaces makes, for a moment, what the node is made of.
func tryNamespaces(ctx context.Context) error {
	return apart(ctx, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}, PeerName: "probe1"}); err != nil {
			return fmt.Errorf("make a veth pair: %w", err)
		}
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe2"}}); err != nil {
			return fmt.Errorf("make a bridge: %w", err)
		}
		if err := netlink.IpsetCreate("labctl-probe", "hash:ip", netlink.IpsetCreateOptions{}); err != nil {
			return fmt.Errorf("make an ip set, which NetworkPolicies are made of: %w", err)
		}
		return nil
	})
}

// tryOverlay makes an overlay mount on a file system of its own, as an overlay can't lie on another.
func tryOverlay(ctx context.Context) error {
	return apart(ctx, func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		dir, err := os.MkdirTemp("", "labctl-overlay-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(dir)) }()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			return fmt.Errorf("mount a tmpfs: %w", err)
		}
		defer func() { err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)) }()
		path := func(name string) string { return filepath.Join(dir, name) }
		for _, name := range []string{"lower", "upper", "work", "merged"} {
			if err := os.Mkdir(path(name), 0o700); err != nil {
				return err
			}
		}
		data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", path("lower"), path("upper"), path("work"))
		if err := unix.Mount("overlay", path("merged"), "overlay", 0, data); err != nil {
			return fmt.Errorf("mount an overlay: %w", err)
		}
		return unix.Unmount(path("merged"), unix.MNT_DETACH)
	})
}
