package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/stack"
)

// State is how far a step got.
type State string

// The states of a step.
const (
	Pending State = "pending" // never begun
	Begun   State = "started" // begun, and not ended: it runs now, or was interrupted
	Done    State = "done"
	Failed  State = "failed"
)

// entry is what the journal remembers of a step.
type entry struct {
	State   State     `json:"state"`
	Digests digests   `json:"digests,omitempty"` // of everything that the step depends on
	At      time.Time `json:"at"`
	Detail  string    `json:"detail,omitempty"`
	Lineage string    `json:"lineage,omitempty"` // of the terraform state that the step left
	Serial  uint64    `json:"serial,omitempty"`
	Ref     string    `json:"ref,omitempty"`     // pull reference of an image
	Outputs []string  `json:"outputs,omitempty"` // of terraform: those that the files declared, whether they have a value or not
}

// journal is what was done, written before the next step begins. It holds no sensitive value.
type journal struct {
	path string
	mu   sync.Mutex
	file journalFile
}

type journalFile struct {
	Version int              `json:"version"`
	Steps   map[string]entry `json:"steps"`
	// Took is how long each step took when it was done last, also one that was taken down since.
	Took map[string]time.Duration `json:"took,omitempty"`
}

const journalVersion = 3

// openJournal reads the journal. One that cannot be understood counts as empty: each step looks at the world before it
// acts, so what is lost is time only.
func openJournal(path string) (*journal, error) {
	j := &journal{path: path, file: journalFile{Version: journalVersion, Steps: map[string]entry{}}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	var f journalFile
	if json.Unmarshal(data, &f) == nil && f.Version == journalVersion && f.Steps != nil {
		j.file = f
	}
	return j, nil
}

func (j *journal) get(step string) (entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.file.Steps[step]
	return e, ok
}

// took gives how long a step took when it was done last; 0 where that is not known.
func (j *journal) took(step string) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Took[step]
}

// finish records a step that is done, and how long it took.
func (j *journal) finish(step string, e entry, took time.Duration) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file.Took == nil {
		j.file.Took = map[string]time.Duration{}
	}
	j.file.Steps[step], j.file.Took[step] = e, took
	return j.save()
}

// put records a step. When it returns, the record outlives this process. It is not forced to the disk: what a power cut
// takes is looked at again, because the journal is only a memory of what states and the world say themselves.
func (j *journal) put(step string, e entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.file.Steps[step] = e
	return j.save()
}

// follow takes over lineage and serial of a state that was moved, where the step that made it is done.
func (j *journal) follow(step string, state func() (*stack.State, error)) error {
	e, ok := j.get(step)
	if !ok || e.State != Done {
		return nil
	}
	st, err := state()
	if err != nil {
		return err
	}
	if e.Lineage == st.Lineage && e.Serial == st.Serial {
		return nil
	}
	e.Lineage, e.Serial = st.Lineage, st.Serial
	return j.put(step, e)
}

// rename gives the steps of a stack to another id.
func (j *journal) rename(from, to string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for step, e := range j.file.Steps {
		rest, ok := strings.CutPrefix(step, from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		delete(j.file.Steps, step)
		j.file.Steps[to+rest] = e
	}
	return j.save()
}

func (j *journal) remove(step string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.file.Steps[step]; !ok {
		return nil
	}
	delete(j.file.Steps, step)
	return j.save()
}

func (j *journal) save() error {
	data, err := json.Marshal(j.file)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if err := atomicfile.Write(j.path, append(data, '\n')); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// changedInputs says why a step that ended with e has to be done again now, or "" where nothing changed.
func (e entry) changedInputs(there bool, now digests) string {
	switch {
	case !there:
		return "it was not there yet"
	case e.State == Begun:
		return "it was interrupted"
	case e.State == Failed:
		return "it failed"
	case e.State != Done:
		return "it is not done"
	}
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if was, had := e.Digests[name]; !had {
			changed = append(changed, name+" is new")
		} else if was != now[name] {
			changed = append(changed, name+" changed")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Digests)) {
		if _, has := now[name]; !has {
			changed = append(changed, name+" is gone")
		}
	}
	const most = 4
	if len(changed) > most {
		changed = append(changed[:most], fmt.Sprintf("and %d more", len(changed)-most))
	}
	return strings.Join(changed, ", ")
}
