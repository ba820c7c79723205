package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ResolverFile is the resolv.conf(5) of what is not to ask the cluster's own name server: the node's programs, and the pods
// with dnsPolicy Default. It names nobody where the cluster has no way out, since an answer at once is better than a time-out.
const ResolverFile = Base + "/resolv.conf"

// setUpResolver writes ResolverFile, and shows it to the node's programs in the place of the machine's file.
func setUpResolver(server, machines string) error {
	var content string
	if server != "" {
		content = "nameserver " + server + "\n"
	}
	if err := os.WriteFile(ResolverFile, []byte(content), 0o644); err != nil { //nolint:gosec // G306: read by every pod
		return err
	}
	target, err := followLinks(machines)
	if err != nil {
		return err
	}
	// Many machines have a link into /run, where the node has files of its own.
	if strings.HasPrefix(target, "/run/") {
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, nil, 0o644); err != nil { //nolint:gosec // G306: a mount point
			return err
		}
	}
	err = unix.Mount(ResolverFile, target, "", unix.MS_BIND, "")
	if errors.Is(err, os.ErrNotExist) {
		return nil // a machine without the file: programs ask nobody
	}
	if err != nil {
		return fmt.Errorf("bind %s to %s: %w", ResolverFile, target, err)
	}
	return nil
}

// followLinks gives the path that a file's links end in, whether anything is there or not.
func followLinks(path string) (string, error) {
	start := path
	for range 40 { // as many as the kernel follows, path_resolution(7)
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil //nolint:nilerr // no link, or nothing at all: this is the end
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = filepath.Clean(target)
	}
	return "", fmt.Errorf("%s: too many links", start)
}
