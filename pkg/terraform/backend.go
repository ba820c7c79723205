package terraform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

const (
	// backendFile names the backend to terraform. It can hold credentials and is 0600 like every file of a run.
	backendFile = "labctl_backend.tf.json"
	// backendNote holds the hash of the backendFile with which init last ended well.
	backendNote = "backend"
	// movingNote holds the hash of the backendFile while a state moves there: the place was found to be free before.
	movingNote = "moving"
	// leftNote is the backendFile of the place that a state is leaving, until nothing of it is left there.
	leftNote = "left.json"
)

// metaFile is where terraform notes which backend it initialised.
const metaFile = ".terraform/terraform.tfstate"

// meta is what terraform notes about its backend.
type meta struct {
	Backend *struct {
		Type   string         `json:"type"`
		Config map[string]any `json:"config"`
	} `json:"backend"`
}

func readMeta(dir string) meta {
	var m meta
	if data, err := os.ReadFile(filepath.Join(dir, metaFile)); err == nil {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		_ = d.Decode(&m) // one that was cut off says nothing
	}
	return m
}

// remote says whether the state lies in a backend, by terraform's own account. What labctl remembers is no witness: it
// can be killed between a move and the note of it.
func remote(dir string) bool {
	m := readMeta(dir)
	return m.Backend != nil && m.Backend.Type != ""
}

// currentBackend gives, as a backendFile, the backend that a work directory's state lies in.
func currentBackend(dir string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(dir, backendFile))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	m := readMeta(dir)
	if m.Backend == nil {
		return nil, fmt.Errorf("%s names no backend", filepath.Join(dir, metaFile))
	}
	for name, v := range m.Backend.Config {
		if v == nil {
			delete(m.Backend.Config, name)
		}
	}
	return json.Marshal(map[string]any{"terraform": map[string]any{"backend": map[string]any{m.Backend.Type: m.Backend.Config}}})
}

// encodeBackend is the content of backendFile.
func encodeBackend(b *stack.StateBackend) ([]byte, error) {
	config, err := stack.JSON(cty.ObjectVal(b.Config))
	if err != nil {
		return nil, fmt.Errorf("encode the backend: %w", err)
	}
	return json.MarshalIndent(map[string]any{"terraform": map[string]any{"backend": map[string]any{b.Type: json.RawMessage(config)}}}, "", "  ")
}

// decodeBackend reads what encodeBackend wrote.
func decodeBackend(content []byte) (*stack.StateBackend, error) {
	var file struct {
		Terraform struct {
			Backend map[string]map[string]json.RawMessage `json:"backend"`
		} `json:"terraform"`
	}
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, fmt.Errorf("read the backend: %w", err)
	}
	for kind, attributes := range file.Terraform.Backend {
		b := &stack.StateBackend{Type: kind, Config: map[string]cty.Value{}}
		for name, raw := range attributes {
			kind, err := ctyjson.ImpliedType(raw)
			if err != nil {
				return nil, fmt.Errorf("read %s of the backend: %w", name, err)
			}
			if b.Config[name], err = ctyjson.Unmarshal(raw, kind); err != nil {
				return nil, fmt.Errorf("read %s of the backend: %w", name, err)
			}
		}
		return b, nil
	}
	return nil, errors.New("read the backend: the file names none")
}

// reconcileBackend moves the state to where the request wants it: from the lab's own directory to a backend, back, or from one backend
// to another, through the lab's own directory. It can be cut off anywhere: what terraform copied twice is the same state.
func (s *session) reconcileBackend(ctx context.Context) error {
	b := s.work.Backend
	path, mark := filepath.Join(s.dir, backendFile), filepath.Join(s.notes, backendNote)
	there := remote(s.dir)
	if b != nil && b.Keep {
		switch {
		case there == fileExists(path):
			if !there && b.Type != "" {
				return s.adoptRemote(ctx, b)
			}
			return nil
		case !there: // a move out was cut off before terraform took note of it, and will begin again
			return removeFile(path)
		}
		b = nil // a move home was cut off
	}
	if b == nil {
		if there {
			s.report.Doing("moving the state into the lab's own directory")
		}
		return s.migrateToLocal(ctx, there)
	}
	content, err := encodeBackend(b)
	if err != nil {
		return err
	}
	want := hash(content)
	have, err := os.ReadFile(mark)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the backend's mark: %w", err)
	}
	switch {
	case there && string(have) == want:
		return atomicfile.Write(path, content)
	case there && len(have) > 0:
		s.report.Doing("moving the state from one backend to the other")
		if err := s.migrateToLocal(ctx, true); err != nil {
			return err
		}
	case !there && len(have) > 0: // .terraform is gone, the state in the backend is not
		if err := atomicfile.Write(path, content); err != nil {
			return err
		}
		if err := s.initNow(ctx); err != nil {
			return err
		}
		return atomicfile.Write(mark, []byte(want))
	}
	local, err := stack.ReadState(filepath.Join(s.dir, stateFile))
	switch {
	case err == nil && !local.IsEmpty():
		moving := filepath.Join(s.notes, movingNote)
		if begun, err := os.ReadFile(moving); err != nil || string(begun) != want {
			// Terraform gives what it moves another lineage, so half a move of ours would look like another's state.
			if err := s.sameLineage(ctx, content, local.Lineage); err != nil {
				return err
			}
			if err := atomicfile.Write(moving, []byte(want)); err != nil {
				return err
			}
		}
		s.report.Doing("moving the state to %s", b.Type)
		if err := atomicfile.Write(path, content); err != nil {
			return err
		}
		if err := s.migrate(ctx); err != nil {
			return err
		}
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if err := atomicfile.Write(path, content); err != nil {
			return err
		}
		if err := s.initNow(ctx); err != nil {
			return err
		}
	default:
		return err
	}
	// They are in the backend now.
	for _, path := range []string{filepath.Join(s.dir, stateFile), filepath.Join(s.dir, stateFile+".backup"), filepath.Join(s.notes, goodNote), filepath.Join(s.notes, movingNote)} {
		if err := removeFile(path); err != nil {
			return err
		}
	}
	return atomicfile.Write(mark, []byte(want))
}

// adoptRemote takes over the state that another machine left in a backend, where this one has none.
func (s *session) adoptRemote(ctx context.Context, b *stack.StateBackend) error {
	for _, path := range []string{filepath.Join(s.dir, stateFile), filepath.Join(s.notes, goodNote), filepath.Join(s.notes, backendNote), filepath.Join(s.notes, movingNote), filepath.Join(s.notes, leftNote)} {
		if fileExists(path) {
			return nil
		}
	}
	content, err := encodeBackend(b)
	if err != nil {
		return err
	}
	s.report.Doing("looking for the state in %s", b.Type)
	data, err := s.pullFrom(ctx, b.Type, content)
	if err != nil || len(data) == 0 {
		return err
	}
	st, err := stack.ParseState("in the backend", data)
	if err != nil || st.IsEmpty() {
		return err
	}
	if err := atomicfile.Write(filepath.Join(s.dir, backendFile), content); err != nil {
		return err
	}
	if err := s.initNow(ctx); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(s.notes, backendNote), []byte(hash(content)))
}

// pullFrom gives the content of the state in a backend, or nothing where the place is known not to be there.
func (s *session) pullFrom(ctx context.Context, kind string, backend []byte) (data []byte, err error) {
	err = s.withScratchDir(ctx, backend, func(in *session) (err error) {
		data, err = in.statePull(ctx)
		return err
	})
	if refused := (*Error)(nil); errors.As(err, &refused) && ctx.Err() == nil {
		if isAbsent(ctx, net.DefaultResolver, kind, refused) {
			return nil, nil
		}
		return nil, fmt.Errorf("look for the state of stack %q in its backend (%s): %w", s.work.Stack.ID, s.work.Path(filepath.Join(s.work.Stack.Dir, "stack.hcl")), err)
	}
	return data, err
}

// migrateToLocal brings the state from its backend into the lab's own directory. Terraform leaves a copy behind, which a later lab
// would take for somebody else's state, so that is emptied.
func (s *session) migrateToLocal(ctx context.Context, there bool) error {
	path, left := filepath.Join(s.dir, backendFile), filepath.Join(s.notes, leftNote)
	if there {
		content, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the backend: %w", err)
		}
		if err == nil {
			if err := atomicfile.Write(left, content); err != nil {
				return err
			}
		}
	}
	if err := removeFile(path); err != nil {
		return err
	}
	if there {
		if err := s.migrate(ctx); err != nil {
			return err
		}
	}
	if err := removeFile(filepath.Join(s.notes, backendNote)); err != nil {
		return err
	}
	content, err := os.ReadFile(left)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the backend that was left: %w", err)
	}
	if err := s.emptyRemote(ctx, content); err != nil {
		return err
	}
	return removeFile(left)
}

// emptyRemote makes the state in a backend one that holds nothing.
func (s *session) emptyRemote(ctx context.Context, backend []byte) error {
	return s.withScratchDir(ctx, backend, func(in *session) error {
		data, err := in.statePull(ctx)
		if err != nil || len(data) == 0 {
			return err
		}
		var st map[string]any
		if err := json.Unmarshal(data, &st); err != nil {
			return fmt.Errorf("read the state that was left: %w", err)
		}
		st["resources"], st["outputs"] = []any{}, map[string]any{}
		out, err := json.Marshal(st)
		if err != nil {
			return err
		}
		const name = "empty.tfstate"
		if err := atomicfile.Write(filepath.Join(in.dir, name), out); err != nil {
			return err
		}
		return in.quiet(ctx, io.Discard, "state", "push", "-force", name) // the serial is the same, and the content is not
	})
}

// withScratchDir gives do a session that works on the state in a backend, in a directory that holds nothing else.
func (s *session) withScratchDir(ctx context.Context, backend []byte, do func(in *session) error) (err error) {
	if err := os.MkdirAll(s.runner.options.Dir, 0o700); err != nil {
		return fmt.Errorf("look into the backend: %w", err)
	}
	dir, err := os.MkdirTemp(s.runner.options.Dir, scratchPrefix)
	if err != nil {
		return fmt.Errorf("look into the backend: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := atomicfile.Write(filepath.Join(dir, backendFile), backend); err != nil {
		return err
	}
	in := *s
	in.dir, in.apart, in.attach, in.needs = dir, "", nil, needs{backend: true}
	in.notes = filepath.Join(dir, ".notes")
	if err := os.Mkdir(in.notes, 0o700); err != nil {
		return err
	}
	if err := in.initNow(ctx); err != nil {
		return err
	}
	return do(&in)
}

// scratchPrefix begins the names of directories in which labctl looks into a backend.
const scratchPrefix = ".look-"

// migrate runs the init that copies the state to where the files now say. Terraform has no JSON log of that.
func (s *session) migrate(ctx context.Context) error {
	unlock, err := s.lockPlugins(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = s.terraform(ctx, "init", "-no-color", "-input=false", "-migrate-state", "-force-copy")
	return err
}

// sameLineage refuses to move a state over one that began elsewhere.
func (s *session) sameLineage(ctx context.Context, backend []byte, lineage string) error {
	var data []byte
	err := s.withScratchDir(ctx, backend, func(in *session) (err error) {
		data, err = in.statePull(ctx)
		return err
	})
	if err != nil || len(data) == 0 {
		return err
	}
	st, err := stack.ParseState("in the backend", data)
	if err != nil {
		return err
	}
	if st.Lineage != lineage && !st.IsEmpty() {
		return fmt.Errorf("the backend of stack %q holds another state already (lineage %s, ours is %s); nothing was moved. "+
			"If that lab is gone, remove its state there; else give this one another place in %s",
			s.work.Stack.ID, st.Lineage, lineage, s.work.Path(filepath.Join(s.work.Stack.Dir, "stack.hcl")))
	}
	return nil
}

// Move brings the stack's state to where w.Backend says and does nothing else. It tells whether there was anything to do.
func (r *Runner) Move(ctx context.Context, w stack.RunRequest, report event.Report) (moved bool, err error) {
	place := func() string {
		mark, _ := os.ReadFile(filepath.Join(notesDir(r.options.Dir, w.Stack.ID), backendNote)) // none: it is at home
		return string(mark)
	}
	before := place()
	s, err := r.ready(ctx, w, report)
	if err != nil {
		return false, err
	}
	s.close()
	return place() != before, nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
