package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
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

// tree adds every regular file below dir, links followed, but terraform's own and the one called skip. What is no file (a socket, a pipe) or
// cannot be read is left out.
func (d digests) tree(dir, prefix, skip string) error { return d.walk(dir, prefix, skip, nil) }

func (d digests) walk(dir, prefix, skip string, above []string) error {
	at, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if slices.Contains(above, at) { // a loop of links
		return nil
	}
	entries, err := os.ReadDir(at)
	if len(above) > 0 && stack.Unreadable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(at, e.Name())
		if name == skip || name == ".terraform" || strings.Contains(name, ".tfstate") {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case stack.Unreadable(err):
		case err != nil:
			return err
		case info.IsDir():
			if err := d.walk(path, prefix+name+"/", "", append(slices.Clone(above), at)); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if stack.Unreadable(err) {
				continue
			}
			if err != nil {
				return err
			}
			d.add(prefix+name, data)
		}
	}
	return nil
}

// files adds the files of a stack: those in its directory, and those of its modules.
func (d digests) files(w stack.RunRequest) error {
	if err := d.tree(w.Stack.Dir, "", "stack.hcl"); err != nil {
		return fmt.Errorf("hash stack %q: %w", w.Stack.ID, err)
	}
	for _, dir := range w.Stack.Modules {
		if err := d.tree(dir, w.Path(dir)+"/", ""); err != nil {
			return fmt.Errorf("hash a module of stack %q: %w", w.Stack.ID, err)
		}
	}
	return nil
}

// filesDigest is one hash of all files of a stack.
func filesDigest(w stack.RunRequest) (string, error) {
	files := digests{}
	if err := files.files(w); err != nil {
		return "", err
	}
	data, err := canonical(files)
	if err != nil {
		return "", err
	}
	one := digests{}
	one.add("", data)
	return one[""], nil
}

// terraformDigests are the hashes of everything that a stack's Terraform depends on, by names that people understand. Wanted is where its
// state belongs.
func terraformDigests(w stack.RunRequest, wanted *stack.StateBackend, version string) (digests, error) {
	p := digests{}
	p.add("the engine", []byte(version))
	if err := p.files(w); err != nil {
		return nil, err
	}
	for name, v := range w.Inputs {
		data, err := stack.JSON(v)
		if err != nil {
			return nil, fmt.Errorf("hash input %q of stack %q: %w", name, w.Stack.ID, err)
		}
		p.add("input "+name, data)
	}
	if b := wanted; b != nil && !b.Keep {
		data, err := stack.JSON(cty.ObjectVal(b.Config))
		if err != nil {
			return nil, fmt.Errorf("hash the backend of stack %q: %w", w.Stack.ID, err)
		}
		p.add("the backend", append([]byte(b.Type), data...))
	}
	return p, nil
}
