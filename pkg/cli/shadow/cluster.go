package shadow

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/incluster"
)

// comparerDir is the source of the comparer's image.
const comparerDir = "images/comparer"

// prepare builds what a shadow runs.
func prepare(ctx context.Context, l *app.Lab, opts *StartOptions, report event.Report) (o incluster.Start, err error) {
	user, host := app.Who(opts.Factory)
	o.By, o.At = user+" on "+host, time.Now()
	source := l.Graph.Lab.Source
	if o.Comparer, err = l.Engine.BuildBeside(ctx, opts.Service, lab.Source{Name: "comparer", Root: source, Dir: comparerDir}, report); err != nil {
		return o, err
	}
	if opts.Image != "" {
		o.Candidate, o.Version = opts.Image, "the image "+opts.Image
		return o, nil
	}
	from := source
	what := "the working tree " + source
	if opts.Ref != "" {
		dir, hash, err := checkOut(ctx, source, opts.Ref)
		if err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		from, what = dir, fmt.Sprintf("the commit %s (%s)", hash[:min(12, len(hash))], opts.Ref)
	}
	o.Version = shadow.Tagged(what, opts.Tags)
	place, _ := l.Engine.PlaceOf(opts.Service)
	o.Candidate, err = l.Engine.BuildBeside(ctx, opts.Service, lab.Source{Name: opts.Service, Root: from, Dir: place.Dir, Tags: opts.Tags}, report)
	return o, err
}

// checkOut writes a commit's files to a directory of their own, and gives its hash. The caller removes the directory.
func checkOut(ctx context.Context, source, ref string) (dir, hash string, err error) {
	fail := func(err error) (string, string, error) {
		return "", "", fmt.Errorf("check out %s of %s: %w", ref, source, err)
	}
	git := func(args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "git", append([]string{"-C", source}, args...)...) //nolint:gosec // a ref cannot be a flag, see below
	}
	out, err := git("rev-parse", "--verify", "--end-of-options", ref+"^{commit}").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fail(errors.New(strings.TrimSpace(string(exit.Stderr))))
	}
	if err != nil {
		return fail(err)
	}
	hash = strings.TrimSpace(string(out))
	if dir, err = os.MkdirTemp("", "labctl-shadow-"); err != nil {
		return fail(err)
	}
	archive := git("archive", "--format=tar", hash)
	pipe, err := archive.StdoutPipe()
	if err == nil {
		err = archive.Start()
	}
	if err == nil {
		err = errors.Join(unpack(pipe, dir), archive.Wait())
	}
	if err != nil {
		return fail(errors.Join(err, os.RemoveAll(dir)))
	}
	return dir, hash, nil
}

// unpack writes the files of a tar archive of Git's below a directory.
func unpack(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, r) // so that git can end
			return err
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(filepath.Clean(h.Name), 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, h.Name)
		case tar.TypeReg:
			err = write(root, h.Name, h.FileInfo().Mode().Perm(), files)
		}
		if err != nil {
			return err
		}
	}
}

func write(root *os.Root, name string, mode os.FileMode, from io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from) //nolint:gosec // G110: the archive is of the user's own repository
	return errors.Join(err, f.Close())
}

// askCluster asks the shadow of a service in the lab's cluster; of the only one, if service is empty.
func askCluster(ctx context.Context, l *app.Lab, service string) (e shadow.Evidence, err error) {
	if _, err := l.Kubeconfig(ctx); err != nil { // the lab is not up
		return e, incluster.ErrNone
	}
	if service == "" {
		services, err := l.Shadows(ctx)
		if err != nil {
			return e, err
		}
		switch len(services) {
		case 0:
			return e, incluster.ErrNone
		case 1:
			service = services[0]
		default:
			var next []string
			for _, s := range services {
				next = append(next, "labctl shadow status "+s)
			}
			return e, &cli.Error{What: "there are shadows of " + strings.Join(services, ", "), Next: next}
		}
	}
	s, err := l.Shadow(ctx, service)
	if err != nil {
		return e, err
	}
	if err := s.EndExpired(ctx, time.Now(), nil); err != nil {
		return e, err
	}
	return s.Evidence(ctx)
}

// EndExpired removes the copies of shadows whose lifetime is over.
func EndExpired(ctx context.Context, l *app.Lab, report event.Report) error {
	if _, ok := l.Engine.PlaceOf(shadow.Services()[0]); !ok {
		return nil // another lab than the chat's
	}
	services, err := l.Shadows(ctx)
	if err != nil {
		return err
	}
	for _, service := range services {
		s, err := l.Shadow(ctx, service)
		if err != nil {
			return err
		}
		if err := s.EndExpired(ctx, time.Now(), report); err != nil {
			return err
		}
	}
	return nil
}
