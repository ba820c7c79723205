package tui

import (
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/status"
)

// details is a pane with all that is known of a part.
type details struct{ part status.Part }

func (d *details) name() string { return d.part.String() }

func (d *details) press(m *Model, key string) tea.Cmd {
	p, _ := m.part(d.part)
	return m.pressOn(p, key)
}

func (d *details) draw(m *Model, height int) []string {
	p, there := m.part(d.part)
	lines := []string{}
	add := func(name, text string) {
		if text == "" {
			return
		}
		wrapped := strings.Split(ansi.Wrap(iostreams.OneLine(text), max(20, m.width-12), ""), "\n")
		for i, l := range wrapped {
			if i > 0 {
				name = ""
			}
			lines = append(lines, m.styles.faint.Render(fit(name, 10))+"  "+l)
		}
	}
	if !there && p.Name != "processes" && p.Kind != status.KindEvent {
		add("", "it is gone; this was seen last")
	}
	add("kind", string(p.Kind))
	add("namespace", p.Namespace)
	add("name", p.Name)
	if p.State != "" {
		lines = append(lines, m.styles.faint.Render(fit("state", 10))+"  "+m.styles.state(p.State))
	}
	if !p.Since.IsZero() {
		add("since", p.Since.In(m.opts.Now().Location()).Format(time.DateTime)+" ("+m.age(p.Since)+")")
	}
	add("reason", p.Reason)
	if p.Next != "" {
		add("next", m.opts.Line(p.Next))
	}
	return lines[:min(len(lines), height)]
}
