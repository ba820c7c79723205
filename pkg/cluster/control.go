package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/cluster/node"
	"github.com/labctl/labctl/pkg/event"
)

// Status is how an embedded cluster's own processes are. Those of other nodes than the first have names as NODE/COMPONENT.
type Status struct {
	Exists      bool                  `json:"exists"`
	Running     bool                  `json:"running"`
	PID         int                   `json:"pid,omitempty"`
	MemoryBytes int64                 `json:"memoryBytes,omitempty"` // of all its processes and pods
	Components  []node.ComponentState `json:"components,omitempty"`
}

// Inspect reads a cluster's status from its directory, without asking the API.
func Inspect(dir string) (Status, error) {
	s := Status{Exists: exists(KubeconfigPath(dir))}
	if !s.Exists {
		return s, nil
	}
	p, running := runningNode(dir)
	if !running {
		return s, nil
	}
	s.Running, s.PID, s.MemoryBytes = true, p.pid, memoryOf(p.pid)
	state, err := node.ReadState(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	s.Components = state.Components
	for _, other := range state.Components {
		if !other.Node || !other.Running {
			continue
		}
		theirs, err := node.ReadState(filepath.Join(dir, node.HomeOf(other.Name)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return s, err
		}
		for _, c := range theirs.Components {
			c.Name = other.Name + "/" + c.Name
			s.Components = append(s.Components, c)
		}
	}
	return s, nil
}

// followEvery is how often a followed log is read.
const followEvery = 200 * time.Millisecond

// Stop ends the cluster's processes and pods and keeps its data. Ensure starts it again.
func (m *Manager) Stop(ctx context.Context, dir string, report event.Report) error {
	if !exists(KubeconfigPath(dir)) {
		return ErrGone
	}
	report.Doing("stopping the node and its pods")
	return stopNode(ctx, dir, gracefully)
}

// Log writes a component's log, or with follow goes on until the context ends. An unknown component is an error that
// names those there are.
func Log(ctx context.Context, dir, component string, lines int, follow bool, w io.Writer) error {
	names, err := logs(dir)
	if err != nil {
		return err
	}
	known := false
	for _, name := range names {
		known = known || name == component
	}
	if !known {
		return fmt.Errorf("the cluster has no component %q; it has: %s", component, strings.Join(names, ", "))
	}
	path := logPath(dir, component)
	text := strings.TrimPrefix(strings.ReplaceAll(tail(path, lines), "\n    ", "\n"), "    ")
	if _, err := fmt.Fprintln(w, text); err != nil || !follow {
		return err
	}
	f, err := os.Open(path) //nolint:gosec // G304: one of the names listed above
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		_ = pause(ctx, followEvery) // its error ends the loop
	}
	return nil
}

// logPath is where a component's log is, whose name is as in Status.
func logPath(dir, component string) string {
	if other, name, ok := strings.Cut(component, "/"); ok {
		dir, component = filepath.Join(dir, node.HomeOf(other)), name
	}
	return node.LogPath(dir, component)
}

func logs(dir string) (names []string, err error) {
	for _, component := range []string{"*", "*/*"} {
		files, err := filepath.Glob(logPath(dir, component))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			name := strings.TrimSuffix(filepath.Base(f), ".log")
			if component == "*/*" {
				name = filepath.Base(filepath.Dir(filepath.Dir(f))) + "/" + name
			}
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, ErrGone
	}
	return names, nil
}
