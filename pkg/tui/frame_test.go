package tui

import (
	"fmt"
	"io"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/labctl/labctl/pkg/status"
)

// BenchmarkFrame draws a lab of a thousand pods, of which each frame has a new snapshot.
func BenchmarkFrame(b *testing.B) {
	lab := sick()
	n := status.Namespace{Name: "many"}
	for i := range 100 {
		w := status.Workload{Kind: status.KindDeployment, Name: fmt.Sprint("app-", i), Condition: is(status.Up, time.Hour, "", ""), Ready: 10, Desired: 10}
		for j := range 10 {
			w.Pods = append(w.Pods, status.Pod{Name: fmt.Sprintf("app-%d-%d", i, j), Condition: w.Condition, Node: "demo-1"})
		}
		n.Workloads = append(n.Workloads, w)
	}
	lab.Namespaces = append(lab.Namespaces, n)
	m := New(b.Context(), Options{Out: io.Discard, Color: true, Now: func() time.Time { return noon }})
	m.Update(tea.WindowSizeMsg{Width: 200, Height: 60})
	m.show("pods")
	for b.Loop() {
		next := *lab
		m.Update(snapshotMsg{&next})
		_ = m.View()
	}
}
