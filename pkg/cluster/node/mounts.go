package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// setUpMounts gives the node its own /proc, /run, /var/lib and /var/log. All else is the machine's own file system. The
// cluster directory is the same for all nodes.
func setUpMounts(config Config) error {
	// What is mounted here must not reach the machine's own mount table.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make / private: %w", err)
	}
	// The kubelet shares mounts with the pods that ask for it.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make / shared within the node: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Directories are opened before any mount can hide them (a lab may itself live under /var/lib or /run), and
	// mounted through their descriptors.
	cluster, err := openPath(config.Dir)
	if err != nil {
		return err
	}
	defer cluster.Close()
	lib, err := openDir(filepath.Join(config.Dir, config.Home, "lib"))
	if err != nil {
		return err
	}
	defer lib.Close()
	log, err := openDir(filepath.Join(config.Dir, config.Home, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	programs := map[string]*os.File{}
	for _, p := range config.Programs {
		f, err := openPath(p)
		if err != nil {
			return err
		}
		defer f.Close()
		programs[filepath.Base(p)] = f
	}

	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(Base, "cluster"), 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(Base, "bin"), 0o755); err != nil {
		return err
	}
	for name, f := range programs {
		target := filepath.Join(Base, "bin", name)
		if err := os.WriteFile(target, nil, 0o755); err != nil { //nolint:gosec // G306: a mount point for a program
			return err
		}
		if err := bind(f, target); err != nil {
			return err
		}
	}
	if err := linkPlugins(config.CNI, PluginDir, filepath.Join(Base, "bin", "node")); err != nil {
		return fmt.Errorf("CNI plugins: %w", err)
	}
	// Last, because they may hide what the paths above went through.
	if err := bind(cluster, filepath.Join(Base, "cluster")); err != nil {
		return err
	}
	if err := bind(lib, "/var/lib"); err != nil {
		return err
	}
	if err := bind(log, "/var/log"); err != nil {
		return err
	}
	if err := hideKernelSettings(); err != nil {
		return err
	}
	return setUpResolver(config.Resolver, "/etc/resolv.conf")
}

// linkPlugins fills the directory to with the plugins of from, and the node's own.
func linkPlugins(from, to, own string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	plugins, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, p := range plugins {
		if err := os.Symlink(filepath.Join(from, p.Name()), filepath.Join(to, p.Name())); err != nil {
			return err
		}
	}
	return os.Symlink(own, filepath.Join(to, Plugin))
}

func openDir(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	return openPath(path)
}

func openPath(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func bind(f *os.File, target string) error {
	source := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", f.Name(), target, err)
	}
	return nil
}

// hideKernelSettings puts files of the node's own over the kernel settings that the kubelet insists on. They are the
// whole machine's, which a lab leaves as it found them; the values are those that the kubelet asks for
// (k8s.io/component-helpers/node/util/sysctl).
func hideKernelSettings() error {
	for setting, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		target := filepath.Join("/proc/sys", setting)
		if _, err := os.Stat(target); err != nil {
			continue // this kernel has no such setting, and the kubelet will say so
		}
		own := filepath.Join(Base, "sysctl", setting)
		if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(own, []byte(value+"\n"), 0o644); err != nil { //nolint:gosec // G306: as the kernel's own
			return err
		}
		if err := unix.Mount(own, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide %s: %w", target, err)
		}
	}
	return nil
}
