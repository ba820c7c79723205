package tui

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/labctl/labctl/pkg/status"
)

// Action is a command that changes something about a part.
type Action struct {
	Name    string // "restart"
	Command string // as it is typed: "labctl ship auth"
	// Run begins it and gives what it prints. Reading ends with an error where it fails, and Close ends it.
	Run func(context.Context) (io.ReadCloser, error)
}

// menu is a pane with what can be done about a part.
type menu struct {
	part    status.Part
	actions []Action
	place   int
}

func (n *menu) name() string { return "actions on " + n.part.String() }

// act shows what can be done about a part.
func (m *Model) act(p status.Part) tea.Cmd {
	var all []Action
	if m.opts.Actions != nil {
		all = m.opts.Actions(p)
	}
	if len(all) == 0 {
		m.notice = "there is nothing to do about " + p.String()
		return nil
	}
	m.push(&menu{part: p, actions: all})
	return nil
}

func (n *menu) press(m *Model, key string) tea.Cmd {
	switch key {
	case "up", "k":
		n.place = max(0, n.place-1)
	case "down", "j":
		n.place = min(n.place+1, len(n.actions)-1)
	case "enter":
		a := n.actions[n.place]
		m.question = &question{"Run " + a.Command + "?", func() tea.Cmd {
			m.back() // the menu
			return m.start(a)
		}}
	}
	return nil
}

func (n *menu) draw(m *Model, height int) []string {
	width := 0
	for _, a := range n.actions {
		width = max(width, len(a.Name))
	}
	var lines []string
	for i, a := range n.actions {
		sign, name := "  ", fit(a.Name, width)
		if i == n.place {
			sign, name = "› ", m.styles.cursor.Render(name)
		}
		lines = append(lines, sign+name+"  "+m.styles.faint.Render(a.Command))
	}
	return lines[:min(len(lines), height)]
}

// question waits for a yes.
type question struct {
	text string
	yes  func() tea.Cmd
}

// answer takes the key after a question. Only a y is a yes.
func (m *Model) answer(key string) tea.Cmd {
	q := m.question
	m.question = nil
	if key == "y" || key == "Y" {
		return q.yes()
	}
	m.notice = "not done"
	return nil
}

// start runs an action, and shows what it prints. It goes on when its pane is left. It is begun before anything else is
// done, so that who leaves right afterwards waits for it.
func (m *Model) start(a Action) tea.Cmd {
	pg := &pager{title: a.Command, follow: true, state: "starting", action: &a}
	ctx := m.opened(pg)
	r, err := a.Run(ctx)
	if err != nil {
		pg.close()
		return func() tea.Msg { return textMsg{pager: pg, done: true, err: err} }
	}
	m.running = append(m.running, pg)
	m.actions.Go(func() { pg.source.pump(ctx, r) })
	return func() tea.Msg { return pg.source.next(pg) }
}

// ended notes that an action has.
func (m *Model) ended(pg *pager) {
	m.running = slices.DeleteFunc(m.running, func(other *pager) bool { return other == pg })
	if m.top() != pane(pg) {
		m.notice = fmt.Sprintf("%s: %s", pg.action.Command, pg.state)
	}
}

// leave quits, or asks first where an action would be stopped by it.
func (m *Model) leave() tea.Cmd {
	if len(m.running) == 0 {
		return m.quit()
	}
	var names []string
	for _, pg := range m.running {
		names = append(names, pg.action.Command)
	}
	m.question = &question{"Stop " + strings.Join(names, " and ") + ", and leave?", m.quit}
	return nil
}
