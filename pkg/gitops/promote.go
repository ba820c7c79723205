package gitops

import (
	"fmt"
	"path"
	"strings"
)

// EmptyError says that Git has nothing of an environment.
type EmptyError struct{ Environment Environment }

func (e *EmptyError) Error() string {
	return fmt.Sprintf("environment %s has nothing in %s of the repository yet", e.Environment.Name, e.Environment.Dir)
}

// Hint is the next command to type.
func (e *EmptyError) Hint() string { return "labctl up -e " + e.Environment.Name }

// Promote says what to change so that an environment gets of another what a promotion takes along: the charts and the images. Values stay,
// since they say what differs between the two.
func Promote(r *Repository, from, to Environment) (Files, error) {
	source, err := r.Files(from.Dir)
	if err != nil {
		return nil, err
	}
	target, err := r.Files(to.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range []struct {
		Environment
		files Files
	}{{from, source}, {to, target}} {
		if len(e.files) == 0 {
			return nil, &EmptyError{e.Environment}
		}
	}
	if pin, ok, err := to.Pinned(r); err != nil {
		return nil, err
	} else if ok {
		return nil, &PinnedError{to.Name, pin}
	}
	change := Files{}
	for name, content := range source {
		if rest := strings.TrimPrefix(name, from.Dir+"/"); promoted(rest) {
			change[path.Join(to.Dir, rest)] = content
		}
	}
	for name := range target {
		rest := strings.TrimPrefix(name, to.Dir+"/")
		if _, there := source[path.Join(from.Dir, rest)]; promoted(rest) && !there {
			change[name] = nil
		}
	}
	return difference(target, change), nil
}

// promoted says whether a file of an environment goes along with a promotion.
func promoted(name string) bool {
	_, rest, _ := strings.Cut(name, "/")
	return rest == imagesFile || strings.HasPrefix(rest, chartDir+"/")
}
