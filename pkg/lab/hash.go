package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// digests are hashes of what a step depends on, by names that people understand. The journal keeps them, so that labctl can
// say what changed.
type digests map[string]string

// digestLength is the number of hexadecimal digits that are kept of a hash: 80 bits, far more than a lab can collide in.
const digestLength = 20

func (d digests) add(name string, data []byte) {
	sum := sha256.Sum256(data)
	d[name] = hex.EncodeToString(sum[:])[:digestLength]
}

// tree adds every regular file below dir but terraform's own and the one called skip.
func (d digests) tree(dir, prefix, skip string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			if e.Name() == ".terraform" {
				return fs.SkipDir
			}
			return nil
		}
		if name == skip || strings.Contains(e.Name(), ".tfstate") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		d.add(prefix+filepath.ToSlash(name), data)
		return nil
	})
}
