// Package datadir marks the directories that labctl makes for clusters, so that removing a cluster never removes a
// directory of the user's.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Marker is the file that marks a cluster's directory. It is written before anything else.
const Marker = ".labctl-cluster"

// ErrForeign says that labctl did not make the directory.
var ErrForeign = errors.New("labctl did not make this directory for a cluster")

// recordFiles are written into every cluster's directory, also by versions of labctl that wrote no marker.
var recordFiles = []string{"node.json", "kind.json"}

// Check returns nil where dir does not exist, is empty or is marked. Otherwise the error wraps ErrForeign.
func Check(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, Marker)); err == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("read the cluster's directory: %w", err)
	case len(entries) == 0:
		return nil
	}
	return fmt.Errorf("%s holds files (%s): %w: give the cluster an empty directory of its own. If everything in this one may be deleted, "+
		"create the file %s and try again", dir, names(entries), ErrForeign, filepath.Join(dir, Marker))
}

// Claim makes dir, mode 0700, and marks it. The error wraps ErrForeign where Check's does.
func Claim(dir string) error {
	if err := Check(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return mark(dir)
}

// Remove removes a marked or empty directory with all that is in it. Where there is none, it does nothing. The error
// wraps ErrForeign where Check's does.
func Remove(dir string) error {
	if err := Check(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the cluster's files: %w", err)
	}
	return nil
}

// MarkOlder marks the directory of a cluster that was made before there were markers. It must lie inside stateDir, which
// holds nothing of the user's, and hold a cluster's record.
func MarkOlder(dir, stateDir string) error {
	rel, err := filepath.Rel(stateDir, dir)
	if stateDir == "" || err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return nil //nolint:nilerr // the directory is elsewhere, so nothing is known about it
	}
	for _, record := range recordFiles {
		if info, err := os.Lstat(filepath.Join(dir, record)); err == nil && info.Mode().IsRegular() {
			return mark(dir)
		}
	}
	return nil
}

func mark(dir string) error {
	text := "labctl made this directory for a cluster. Removing the cluster removes everything in it.\n"
	return os.WriteFile(filepath.Join(dir, Marker), []byte(text), 0o600)
}

// names lists a few entries of a directory for an error message.
func names(entries []fs.DirEntry) string {
	const most = 3
	var list []string
	for i, e := range entries {
		if i == most {
			list = append(list, "…")
			break
		}
		list = append(list, e.Name())
	}
	return strings.Join(list, ", ")
}
