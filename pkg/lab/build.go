package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// Source is what an image is built from beside what the lab runs.
type Source struct {
	Name string   // of the image
	Root string   // a working tree of the lab's source
	Dir  string   // below it, such as services/messaging
	Tags []string // of go build, added to the recipe's
}

// BuildBeside builds an image and pushes it to the registry of a service's, and gives its whole reference. Nothing that
// the lab runs changes.
func (l *Lab) BuildBeside(ctx context.Context, service string, from Source, report event.Report) (ref string, err error) {
	s, img := l.findImage(service)
	if img == nil {
		return "", fmt.Errorf("no service %q", service)
	}
	if _, err := os.Stat(l.graph.Dir); errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotUp
	}
	r, err := l.reader()
	if err != nil {
		return "", err
	}
	if err := r.recall(ctx, recorded); err != nil {
		return "", err
	}
	registry, err := l.graph.Registry(s, img, r.snapshot())
	if errors.Is(err, stack.ErrNotKnown) {
		return "", fmt.Errorf("%w: %w", ErrNotUp, err)
	}
	if err != nil {
		return "", err
	}
	repository := "lab/" + from.Name
	digest, err := l.deps.Images.Build(ctx, ImageSpec{
		Name: from.Name, Root: from.Root, Source: from.Dir, Tags: from.Tags, Repository: registry.Push + "/" + repository,
	}, report)
	if err != nil {
		return "", fmt.Errorf("build image %q from %s in %s: %w", from.Name, from.Dir, from.Root, err)
	}
	return registry.Pull + "/" + repository + "@" + digest, nil
}

// Place is where a service is: in the lab's files and in its cluster.
type Place struct {
	Stack     string // its id
	Dir       string // of its image's source, below a working tree
	Namespace string // of the release that uses the image
}

// PlaceOf finds a service. ok is false where no release uses an image of that name.
func (l *Lab) PlaceOf(service string) (p Place, ok bool) {
	s, img := l.findImage(service)
	if img == nil {
		return p, false
	}
	for _, rel := range s.Releases {
		if slices.Contains(rel.Images, service) {
			return Place{Stack: s.ID, Dir: img.Source, Namespace: rel.Namespace}, true
		}
	}
	return p, false
}
