package gobuild

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
)

// buckets are the directories of a Go build cache; each of its files is named by the hash of what it is or comes from.
var buckets = regexp.MustCompile(`^[0-9a-f]{2}$`)

// lend lets a private build cache begin with what the user's has compiled, the standard library above all. It links files, which takes no space, and
// removing a link leaves the user's file. The go command checks what it reads, and takes a file that is not whole for a missing one.
//
// Where links are not possible, such as between two disks, the private cache begins empty. The error is ctx's.
func lend(ctx context.Context, from, to string) error {
	dirs, err := os.ReadDir(from)
	if err != nil {
		return ctx.Err() // there is none
	}
	for _, dir := range dirs {
		if !buckets.MatchString(dir.Name()) {
			continue
		}
		files, err := os.ReadDir(filepath.Join(from, dir.Name()))
		if err != nil {
			continue
		}
		if err := os.MkdirAll(filepath.Join(to, dir.Name()), 0o755); err != nil {
			return ctx.Err() // what is wrong there, the go command says
		}
		for _, file := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := os.Link(filepath.Join(from, dir.Name(), file.Name()), filepath.Join(to, dir.Name(), file.Name()))
			if err != nil && !os.IsExist(err) && !os.IsNotExist(err) {
				return nil
			}
		}
	}
	return nil
}
