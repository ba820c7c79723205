package terraform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/hashicorp/terraform-exec/tfexec"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

const (
	// backendFile names the backend to terraform. It can hold credentials and is 0600 like every file of a run.
	backendFile = "labctl_backend.tf.json"
	// backendMark holds the hash of the backendFile with which init last ended well.
	backendMark = ".labctl-backend"
	// movingMark holds the hash of the backendFile while a state moves there: the place was found to be free before.
	movingMark = ".labctl-moving"
	// leftFile is the backendFile of the place that a state is leaving, until nothing of it is left there.
	leftFile = ".labctl-left.json"
)

// metaFile is where terraform notes which backend it initialised.
const metaFile = ".terraform/terraform.tfstate"

// remote says whether the state lies in a backend, by terraform's own account. What labctl remembers is no witness: it
// can be killed between a move and the note of it.
func remote(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return false
	}
	var meta struct {
		Backend *struct {
			Type string `json:"type"`
		} `json:"backend"`
	}
	return json.Unmarshal(data, &meta) == nil && meta.Backend != nil && meta.Backend.Type != ""
}

// encodeBackend is the content of backendFile.
func encodeBackend(b *stack.StateBackend) ([]byte, error) {
	config, err := stack.JSON(cty.ObjectVal(b.Config))
	if err != nil {
		return nil, fmt.Errorf("encode the backend: %w", err)
	}
	return json.MarshalIndent(map[string]any{"terraform": map[string]any{"backend": map[string]any{b.Type: json.RawMessage(config)}}}, "", "  ")
}

// settle moves the state to where the work wants it: from the lab's own directory to a backend, back, or from one backend
// to another, through the lab's own directory. It can be cut off anywhere: what terraform copied twice is the same state.
func (s *session) settle(ctx context.Context) error {
	b := s.work.Backend
	path, mark := filepath.Join(s.dir, backendFile), filepath.Join(s.dir, backendMark)
	there := remote(s.dir)
	if b != nil && b.Keep {
		switch {
		case there == fileExists(path):
			if !there && b.Type != "" {
				return s.find(ctx, b)
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
		return s.home(ctx, there)
	}
	content, err := encodeBackend(b)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	want := hex.EncodeToString(sum[:])
	have, err := os.ReadFile(mark)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the backend's mark: %w", err)
	}
	switch {
	case there && string(have) == want:
		return writeFile(path, content)
	case there && len(have) > 0:
		s.report.Doing("moving the state from one backend to the other")
		if err := s.home(ctx, true); err != nil {
			return err
		}
	case !there && len(have) > 0: // .terraform is gone, the state in the backend is not
		if err := writeFile(path, content); err != nil {
			return err
		}
		if err := s.initNow(ctx); err != nil {
			return err
		}
		return writeFile(mark, []byte(want))
	}
	local, err := stack.ReadState(filepath.Join(s.dir, stateFile))
	switch {
	case err == nil && (len(local.Resources) > 0 || len(local.Outputs) > 0):
		moving := filepath.Join(s.dir, movingMark)
		if begun, err := os.ReadFile(moving); err != nil || string(begun) != want {
			// Terraform gives what it moves another lineage, so half a move of ours would look like another's state.
			if err := s.sameLineage(ctx, content, local.Lineage); err != nil {
				return err
			}
			if err := writeFile(moving, []byte(want)); err != nil {
				return err
			}
		}
		s.report.Doing("moving the state to %s", b.Type)
		if err := writeFile(path, content); err != nil {
			return err
		}
		if err := s.migrate(ctx); err != nil {
			return err
		}
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if err := writeFile(path, content); err != nil {
			return err
		}
		if err := s.initNow(ctx); err != nil {
			return err
		}
	default:
		return err
	}
	for _, name := range []string{stateFile, goodState, stateFile + ".backup", movingMark} { // they are in the backend now
		if err := removeFile(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return writeFile(mark, []byte(want))
}

// find takes the state over that another machine left in a backend, where this one has none.
func (s *session) find(ctx context.Context, b *stack.StateBackend) error {
	for _, name := range []string{stateFile, goodState, backendMark, movingMark, leftFile} {
		if fileExists(filepath.Join(s.dir, name)) {
			return nil
		}
	}
	content, err := encodeBackend(b)
	if err != nil {
		return err
	}
	s.report.Doing("looking for the state in %s", b.Type)
	var data string
	err = s.beside(ctx, content, func(tf *tfexec.Terraform, _ string) (err error) {
		data, err = tf.StatePull(ctx)
		return err
	})
	if refused := (*Error)(nil); errors.As(err, &refused) && ctx.Err() == nil {
		if nothingThere.MatchString(refused.Error()) {
			return nil
		}
		return fmt.Errorf("look for the state of stack %q where find in %s says: %w", s.work.Stack.ID, s.work.Path(filepath.Join(s.work.Stack.Dir, "stack.hcl")), err)
	}
	if err != nil || data == "" {
		return err
	}
	st, err := stack.ParseState("in the backend", []byte(data))
	if err != nil || len(st.Resources) == 0 && len(st.Outputs) == 0 {
		return err
	}
	if err := writeFile(filepath.Join(s.dir, backendFile), content); err != nil {
		return err
	}
	if err := s.initNow(ctx); err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	return writeFile(filepath.Join(s.dir, backendMark), []byte(hex.EncodeToString(sum[:])))
}

// nothingThere is how backends say that the place of a state does not exist, so that no machine has put one there.
// Whatever else they say, of rights and of networks, leaves it open.
var nothingThere = regexp.MustCompile(`(?i)\b404\b|NotFound|not found|NoSuch|does not exist|doesn't exist|could not be found|no such host`)

// home brings the state from its backend into the lab's own directory. Terraform leaves a copy behind, which a later lab
// would take for somebody else's state, so that is emptied.
func (s *session) home(ctx context.Context, there bool) error {
	path, left := filepath.Join(s.dir, backendFile), filepath.Join(s.dir, leftFile)
	if there {
		content, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the backend: %w", err)
		}
		if err == nil {
			if err := writeFile(left, content); err != nil {
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
	if err := removeFile(filepath.Join(s.dir, backendMark)); err != nil {
		return err
	}
	content, err := os.ReadFile(left)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the backend that was left: %w", err)
	}
	if err := s.empty(ctx, content); err != nil {
		return err
	}
	return removeFile(left)
}

// empty makes the state in a backend one that holds nothing.
func (s *session) empty(ctx context.Context, backend []byte) error {
	return s.beside(ctx, backend, func(tf *tfexec.Terraform, dir string) error {
		data, err := tf.StatePull(ctx)
		if err != nil || data == "" {
			return err
		}
		var st map[string]any
		if err := json.Unmarshal([]byte(data), &st); err != nil {
			return fmt.Errorf("read the state that was left: %w", err)
		}
		st["resources"], st["outputs"] = []any{}, map[string]any{}
		out, err := json.Marshal(st)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, "empty.tfstate"), out); err != nil {
			return err
		}
		return tf.StatePush(ctx, "empty.tfstate", tfexec.Force(true)) // the serial is the same, and the content is not
	})
}

// beside gives do a terraform that works on the state in a backend, in a directory that holds nothing else.
func (s *session) beside(ctx context.Context, backend []byte, do func(tf *tfexec.Terraform, dir string) error) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(s.dir), ".look-")
	if err != nil {
		return fmt.Errorf("look into the backend: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeFile(filepath.Join(dir, backendFile), backend); err != nil {
		return err
	}
	tf, err := newTerraform(dir, s.path, s.env)
	if err != nil {
		return err
	}
	tf.SetStderr(s.log)
	_, err = s.run(ctx, "in the backend alone", func(w io.Writer, _ tfexec.ReattachInfo) error {
		if err := tf.InitJSON(ctx, w); err != nil {
			return err
		}
		tf.SetStdout(io.Discard) // a state is no log
		return do(tf, dir)
	})
	return err
}

// migrate runs the init that copies the state to where the files now say. Terraform has no JSON log of that.
func (s *session) migrate(ctx context.Context) error {
	unlock, err := s.lockPlugins(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = s.run(ctx, "init -migrate-state", func(w io.Writer, info tfexec.ReattachInfo) error {
		opts := []tfexec.InitOption{tfexec.ForceCopy(true)}
		if info != nil {
			opts = append(opts, tfexec.Reattach(info))
		}
		if _, _, err := s.tf.Version(ctx, false); err != nil { // asked now, so that its answer is not taken for init's
			return err
		}
		s.tf.SetStdout(w)
		return s.tf.Init(ctx, opts...)
	})
	return err
}

// sameLineage refuses to move a state over one that began elsewhere.
func (s *session) sameLineage(ctx context.Context, backend []byte, lineage string) error {
	var data string
	err := s.beside(ctx, backend, func(tf *tfexec.Terraform, _ string) (err error) {
		data, err = tf.StatePull(ctx)
		return err
	})
	if err != nil || data == "" {
		return err
	}
	st, err := stack.ParseState("in the backend", []byte(data))
	if err != nil {
		return err
	}
	if st.Lineage != lineage && (len(st.Resources) > 0 || len(st.Outputs) > 0) {
		return fmt.Errorf("the backend of stack %q holds another state already (lineage %s, ours is %s); nothing was moved. "+
			"If that lab is gone, remove its state there; else give this one another place in %s",
			s.work.Stack.ID, st.Lineage, lineage, s.work.Path(filepath.Join(s.work.Stack.Dir, "stack.hcl")))
	}
	return nil
}

// Move brings the stack's state to where w.Backend says and does nothing else. It tells whether there was anything to do.
func (r *Runner) Move(ctx context.Context, w stack.RunRequest, report event.Report) (moved bool, err error) {
	place := func() string {
		mark, _ := os.ReadFile(filepath.Join(WorkDir(r.options.Dir, w.Stack.ID), backendMark)) // none: it is at home
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
