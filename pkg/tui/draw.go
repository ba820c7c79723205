package tui

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/status"
)

// The screen has some lines of its own.
const (
	smallest    = 20 // columns, below which nothing can be read
	maxProblems = 3
)

// View draws the screen.
func (m *Model) View() string {
	if m.width < smallest || m.height < 5 {
		return "labctl status needs a larger terminal"
	}
	if t, is := m.top().(*table); is {
		t.refresh(m.snapshot)
	}
	top, bottom := m.header(), m.footer()
	height := m.height - len(top) - len(bottom)
	body := m.body(max(0, height))
	for len(body) < height {
		body = append(body, "")
	}
	lines := append(append(top, body...), bottom...)
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], m.width, "…")
	}
	return strings.Join(lines[:min(len(lines), m.height)], "\n")
}

// room is how many lines a pane has.
func (m *Model) room() int { return max(1, m.height-len(m.header())-len(m.footer())) }

func (m *Model) body(height int) []string {
	if m.help {
		return m.helpLines(height)
	}
	return m.top().draw(m, height)
}

// header says how the lab is: its name, state and address, and the first problems.
func (m *Model) header() []string {
	s := m.snapshot
	if s == nil {
		return []string{m.styles.title.Render("labctl status"), m.rule()}
	}
	left := m.styles.title.Render(iostreams.OneLine(s.Lab)) + "  " + iostreams.OneLine(s.Environment) + "  " + m.styles.state(s.State)
	if !s.Complete() {
		left += m.styles.faint.Render("  looking")
	}
	right := m.opts.Now().Format("15:04:05")
	if len(s.URLs) > 0 {
		right = iostreams.OneLine(s.URLs[0].Name+" "+s.URLs[0].Address) + "  " + right
	}
	lines := []string{between(left, right, m.width)}
	for i, p := range s.Problems {
		if i == maxProblems || i == maxProblems-1 && len(s.Problems) > maxProblems {
			lines = append(lines, m.styles.problem.Render(fmt.Sprintf("! and %d more: type :problems", len(s.Problems)-i)))
			break
		}
		lines = append(lines, m.styles.problem.Render("! "+iostreams.OneLine(p)))
	}
	if s.Next != "" {
		lines = append(lines, m.styles.faint.Render("next: ")+iostreams.OneLine(m.opts.Line(s.Next)))
	}
	return append(lines, m.rule())
}

// rule is a line with the way to the pane.
func (m *Model) rule() string {
	var names []string
	for _, p := range m.panes {
		names = append(names, p.name())
	}
	path := ansi.Truncate(strings.Join(names, " › "), max(0, m.width-6), "…")
	return m.styles.faint.Render("── ") + iostreams.OneLine(path) + m.styles.faint.Render(" "+strings.Repeat("─", max(0, m.width-4-ansi.StringWidth(path))))
}

// between puts two texts at the two ends of a line.
func between(left, right string, width int) string {
	space := width - ansi.StringWidth(left) - ansi.StringWidth(right)
	if space < 1 {
		return left
	}
	return left + strings.Repeat(" ", space) + right
}

// footer is one line: what is typed, a notice, or the keys.
func (m *Model) footer() []string {
	switch {
	case m.question != nil:
		var lines []string
		for _, l := range strings.Split(ansi.Wrap(iostreams.OneLine(m.question.text), m.width, ""), "\n") {
			lines = append(lines, m.styles.title.Render(l)) // all of it: nobody agrees to what is cut off
		}
		return append(lines, "y: yes, any other key: no")
	case m.input != nil:
		return []string{m.input.draw(m)}
	case m.notice != "":
		return []string{iostreams.OneLine(m.notice)}
	case m.over:
		return []string{m.styles.problem.Render("nothing more is told; q leaves")}
	}
	var keys []string
	for _, k := range m.keys() {
		if k.short != "" {
			keys = append(keys, m.styles.key.Render(k.key)+" "+k.short)
		}
	}
	return []string{strings.Join(keys, "  ")}
}

// binding is a key and what it does.
type binding struct{ key, short, long string }

// keys are those of the pane that is shown.
func (m *Model) keys() []binding {
	all := []binding{{"↑↓", "", "move; also j and k, PgUp and PgDn, g and G"}}
	switch p := m.top().(type) {
	case *table:
		all = append(all, binding{"enter", "open", "show what the part consists of, or what is known of it"})
		if part, ok := p.selected(); ok {
			all = append(all, m.asks(part)...)
		}
		all = append(all, binding{"o", "sort", "sort by the next column; O turns the order"})
		all = append(all, onPart...)
	case *menu:
		all = append(all, binding{"enter", "run", "run what is under the cursor, after a question"})
	case *pager:
		all = append(all, binding{"f", "follow", "go on to the end as the text grows, or stop"})
	case *details:
		all = append(append(all, m.asks(p.part)...), onPart...)
	}
	all = append(all, binding{"/", "filter", "show what holds a text only; esc takes it back"},
		binding{":", "go to", "type where to go: " + strings.Join(commands(), ", ")}, binding{"m", "", "let the mouse scroll, or give it back to the terminal"},
		binding{"?", "help", "show this"})
	if len(m.running) > 0 {
		all = append(all, binding{"R", "running", "show the command that is running"})
	}
	if len(m.panes) > 1 {
		return append(all, binding{"esc", "back", "go back; also q"})
	}
	return append(all, binding{"q", "quit", "leave; also Ctrl-C"})
}

// onPart are the keys that every part has.
var onPart = []binding{{"a", "act", "show what can be done about it"}, {"c", "copy", "copy the command that helps, or the name"}}

// pressOn handles a key that is about a part.
func (m *Model) pressOn(p status.Part, key string) tea.Cmd {
	switch key {
	case "l", "y", "d":
		return m.ask(askOf[key], p)
	case "c":
		return m.copy(p)
	case "a":
		return m.act(p)
	}
	return nil
}

// asks are the keys that ask for text about a part.
func (m *Model) asks(p status.Part) (keys []binding) {
	for _, k := range []binding{{"l", "logs", "follow its log"}, {"d", "describe", "describe it"}, {"y", "YAML", "show it as YAML"}} {
		if m.opts.Open != nil && canAsk(askOf[k.key], p) {
			keys = append(keys, k)
		}
	}
	return keys
}

var askOf = map[string]Ask{"l": AskLogs, "y": AskYAML, "d": AskDescribe}

// canAsk says whether there is such a text about a part.
func canAsk(what Ask, p status.Part) bool {
	switch p.Kind {
	case status.KindDeployment, status.KindStatefulSet, status.KindDaemonSet, status.KindPod, status.KindService:
		return true
	case status.KindNode, status.KindApplication:
		return what != AskLogs
	case status.KindStack, status.KindStep:
		return what == AskLogs
	}
	return false
}

func (m *Model) helpLines(height int) []string {
	var lines []string
	for _, k := range m.keys() {
		lines = append(lines, "  "+m.styles.key.Render(fit(k.key, 6))+"  "+k.long)
	}
	lines = append(lines, "")
	for _, state := range []status.State{status.Up, status.Working, status.Pending, status.Partial, status.Failed, status.Down, status.Unknown} {
		lines = append(lines, "  "+fit(m.styles.state(state), stateWidth)+"  "+meanings[state])
	}
	return lines[:min(len(lines), height)]
}

var meanings = map[status.State]string{
	status.Up:      "all is there and well",
	status.Working: "on its way",
	status.Pending: "not begun",
	status.Partial: "something of it is missing or not well",
	status.Failed:  "it went wrong, and does not mend itself",
	status.Down:    "it is not there, or does not run",
	status.Unknown: "nobody could tell",
}
