package tui

import (
	"context"
	"slices"
	"sync"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/labctl/labctl/pkg/status"
)

// pane is what fills the screen between the first lines and the last.
type pane interface {
	name() string
	press(m *Model, key string) tea.Cmd
	draw(m *Model, height int) []string
}

// Model is the state of the screen.
type Model struct {
	ctx    context.Context
	opts   Options
	styles styles

	width, height int
	snapshot      *status.Snapshot
	over          bool // no more snapshots come
	panes         []pane
	input         *input // what is typed now: a filter or a command
	help          bool
	notice        string // one line, until the next key
	question      *question
	running       []*pager // actions that go on, whether they are shown or not
	actions       sync.WaitGroup
	mouse         bool
}

// New makes a screen that shows the overview.
func New(ctx context.Context, o Options) *Model {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Line == nil {
		o.Line = func(command string) string { return command }
	}
	return &Model{ctx: ctx, opts: o, styles: newStyles(o.Out, o.Color), width: 80, height: 24, panes: []pane{&table{lister: listers["overview"]}}}
}

type (
	snapshotMsg struct{ *status.Snapshot }
	overMsg     struct{}
	clockMsg    struct{}
)

// Init begins to read snapshots.
func (m *Model) Init() tea.Cmd { return tea.Batch(m.follow(), clock()) }

func (m *Model) follow() tea.Cmd {
	return func() tea.Msg {
		if s, more := <-m.opts.Snapshots; more {
			return snapshotMsg{s}
		}
		return overMsg{}
	}
}

// clock lets ages grow.
func clock() tea.Cmd {
	return tea.Tick(time.Second, func(time.Time) tea.Msg { return clockMsg{} })
}

// Update takes what happened.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case snapshotMsg:
		m.snapshot = msg.Snapshot
		return m, m.follow()
	case overMsg:
		m.over = true
	case clockMsg:
		return m, clock()
	case textMsg:
		next := msg.pager.take(msg)
		if msg.done && msg.pager.action != nil {
			m.ended(msg.pager)
		}
		return m, next
	case tea.MouseMsg:
		switch msg.Button {
		case tea.MouseButtonWheelUp:
			return m, m.top().press(m, "up")
		case tea.MouseButtonWheelDown:
			return m, m.top().press(m, "down")
		}
	case tea.KeyMsg:
		return m, m.key(msg)
	}
	return m, nil
}

func (m *Model) top() pane { return m.panes[len(m.panes)-1] }

func (m *Model) push(p pane) { m.panes = append(m.panes, p) }

// back leaves the pane that is shown.
func (m *Model) back() {
	if len(m.panes) == 1 {
		return
	}
	if p, is := m.top().(*pager); is && p.action == nil {
		p.close()
	}
	m.panes = m.panes[:len(m.panes)-1]
}

// key handles a key: what is typed first, then what all panes have, then the pane. Runes that come fast come together.
func (m *Model) key(msg tea.KeyMsg) tea.Cmd {
	if len(msg.Runes) > 1 {
		var all []tea.Cmd
		for _, r := range msg.Runes {
			all = append(all, m.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}}))
		}
		return tea.Sequence(all...)
	}
	key := msg.String()
	m.notice = ""
	switch {
	case m.question != nil && key != "ctrl+c":
		return m.answer(key)
	case m.question != nil: // a second time
		return m.quit()
	case key == "ctrl+c":
		return m.leave()
	case m.input != nil:
		return m.input.key(m, msg)
	case m.help:
		m.help = false
		return nil
	}
	switch key {
	case "q":
		if len(m.panes) == 1 {
			return m.leave()
		}
		m.back()
	case "R":
		if n := len(m.running); n > 0 && m.top() != pane(m.running[n-1]) {
			m.push(m.running[n-1])
		}
	case "esc":
		m.escape()
	case "ctrl+z":
		return tea.Suspend
	case "?":
		m.help = true
	case "/":
		m.input = newInput('/', m.filter())
	case ":":
		m.input = newInput(':', "")
	case "m":
		m.mouse = !m.mouse
		if m.mouse {
			m.notice = "the mouse scrolls; m gives it back to the terminal"
			return tea.EnableMouseCellMotion
		}
		return tea.DisableMouse
	default:
		return m.top().press(m, key)
	}
	return nil
}

func (m *Model) quit() tea.Cmd {
	for _, p := range m.panes {
		if p, is := p.(*pager); is {
			p.close()
		}
	}
	return tea.Quit
}

// escape takes back the filter, or else leaves the pane.
func (m *Model) escape() {
	if m.filter() != "" {
		m.setFilter("")
		return
	}
	m.back()
}

func (m *Model) filter() string {
	switch p := m.top().(type) {
	case *table:
		return p.filter
	case *pager:
		return p.filter
	}
	return ""
}

func (m *Model) setFilter(text string) {
	switch p := m.top().(type) {
	case *table:
		p.filter = text
		p.changed(m.snapshot)
	case *pager:
		p.filter, p.offset = text, 0
	}
}

// show replaces all panes by the table of a name.
func (m *Model) show(name string) bool {
	l, ok := listers[name]
	if !ok {
		return false
	}
	for len(m.panes) > 1 {
		m.back()
	}
	m.panes = []pane{&table{lister: l}}
	return true
}

// enter shows what a part consists of, or what is known of it; of an event, its object.
func (m *Model) enter(p status.Part) tea.Cmd {
	if p.Kind == status.KindEvent {
		object := m.objectOf(p)
		if object, there := m.part(object); there {
			return m.enter(object)
		}
	}
	if l, ok := inside(p); ok {
		m.push(&table{lister: l})
		return nil
	}
	m.push(&details{part: p})
	return nil
}

// copy puts the command that helps, or else the part's name, on the clipboard of the terminal.
func (m *Model) copy(p status.Part) tea.Cmd {
	text := p.Name
	if p.Next != "" {
		text = m.opts.Line(p.Next)
	}
	m.notice = "copied: " + text
	return func() tea.Msg {
		_, _ = m.opts.Out.Write([]byte(ansi.SetSystemClipboard(text)))
		return nil
	}
}

// part gives a part as it is now.
func (m *Model) part(p status.Part) (status.Part, bool) {
	if m.snapshot == nil {
		return p, false
	}
	all := m.snapshot.Parts()
	i := slices.IndexFunc(all, func(q status.Part) bool { return q.String() == p.String() })
	if i < 0 {
		return p, false
	}
	return all[i], true
}

// objectOf gives what an event is about.
func (m *Model) objectOf(p status.Part) status.Part {
	i := slices.IndexFunc(m.snapshot.Events, func(e status.Event) bool { return e.Namespace == p.Namespace && e.Name == p.Name })
	if i < 0 {
		return p
	}
	return status.Part{Kind: m.snapshot.Events[i].Kind, Namespace: p.Namespace, Name: m.snapshot.Events[i].Object}
}

func (m *Model) age(then time.Time) string { return status.Age(m.opts.Now(), then) }
