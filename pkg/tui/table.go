package tui

import (
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/status"
)

// table is a pane with a row for each part. The cursor stays with its part when others come and go.
type table struct {
	lister
	filter string
	order  int // the column that the rows are sorted by; 0: as they come
	turned bool

	moved  bool   // by the user; until then the cursor is on the first row
	at     string // the part under the cursor
	place  int    // its row, where the part is gone
	offset int    // the first row that is shown

	from *status.Snapshot // that the rows are of
	rows []row
}

// The columns that each table has, before and after its own.
const (
	nameColumn = 1 + iota
	stateColumn
	sinceColumn
	ownColumns
)

func (t *table) name() string {
	if t.filter == "" {
		return t.title
	}
	return t.title + " /" + t.filter
}

// refresh brings the rows up to date.
func (t *table) refresh(s *status.Snapshot) {
	if t.from == s {
		return
	}
	t.from, t.rows = s, nil
	if s == nil {
		return
	}
	for _, r := range t.lister.rows(s) {
		if t.filter == "" && t.order == 0 || !r.head && t.matches(r) {
			t.rows = append(t.rows, r)
		}
	}
	if t.order > 0 {
		slices.SortStableFunc(t.rows, t.compare)
	}
	t.settle()
}

// changed has the rows made anew.
func (t *table) changed(s *status.Snapshot) {
	t.from = nil
	t.refresh(s)
}

func (t *table) matches(r row) bool {
	text := strings.ToLower(strings.Join(append([]string{r.name, string(r.part.State), r.part.Reason}, r.cells...), " "))
	return strings.Contains(text, strings.ToLower(t.filter))
}

func (t *table) compare(a, b row) int {
	c := 0
	switch t.order {
	case nameColumn:
		c = strings.Compare(a.name, b.name)
	case stateColumn:
		c = strings.Compare(string(a.part.State), string(b.part.State))
	case sinceColumn:
		c = b.part.Since.Compare(a.part.Since)
	default:
		c = compareCells(cell(a, t.order-ownColumns), cell(b, t.order-ownColumns))
	}
	if t.turned {
		return -c
	}
	return c
}

func cell(r row, i int) string {
	if i < len(r.cells) {
		return r.cells[i]
	}
	return ""
}

// compareCells compares numbers by their value.
func compareCells(a, b string) int {
	if len(a) != len(b) && strings.Trim(a, "0123456789/") == "" && strings.Trim(b, "0123456789/") == "" {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// settle finds the cursor's row again.
func (t *table) settle() {
	if !t.moved {
		t.move(0, 1)
		return
	}
	at := slices.IndexFunc(t.rows, func(r row) bool { return !r.head && r.part.String() == t.at })
	if at < 0 {
		at = min(max(t.place, 0), len(t.rows)-1)
	}
	t.move(at, 1)
}

// move puts the cursor on a row, or on the next one in a direction that is no heading.
func (t *table) move(to, direction int) {
	for i := to; i >= 0 && i < len(t.rows); i += direction {
		if !t.rows[i].head {
			t.place, t.at = i, t.rows[i].part.String()
			return
		}
	}
	for i := to; i >= 0 && i < len(t.rows); i -= direction {
		if !t.rows[i].head {
			t.place, t.at = i, t.rows[i].part.String()
			return
		}
	}
}

// selected is the part under the cursor.
func (t *table) selected() (status.Part, bool) {
	if t.place < 0 || t.place >= len(t.rows) || t.rows[t.place].head {
		return status.Part{}, false
	}
	return t.rows[t.place].part, true
}

func (t *table) press(m *Model, key string) tea.Cmd {
	t.refresh(m.snapshot)
	page := max(1, m.room()-1)
	t.moved = true
	switch key {
	case "up", "k":
		t.move(max(t.place-1, 0), -1)
	case "down", "j":
		t.move(min(t.place+1, len(t.rows)-1), 1)
	case "pgup", "ctrl+b":
		t.move(max(t.place-page, 0), -1)
	case "pgdown", "ctrl+f", " ":
		t.move(min(t.place+page, len(t.rows)-1), 1)
	case "home", "g":
		t.move(0, 1)
	case "end", "G":
		t.move(len(t.rows)-1, -1)
	case "o":
		t.order = (t.order + 1) % (ownColumns + len(t.columns))
		t.changed(m.snapshot)
	case "O":
		t.turned = !t.turned
		t.changed(m.snapshot)
	case "enter":
		if p, ok := t.selected(); ok {
			return m.enter(p)
		}
	default:
		if p, ok := t.selected(); ok {
			return m.pressOn(p, key)
		}
	}
	return nil
}

// draw gives at most so many lines.
func (t *table) draw(m *Model, height int) []string {
	if len(t.rows) == 0 {
		return []string{m.styles.faint.Render(t.nothing(m))}
	}
	t.offset = min(max(t.offset, t.place-(height-2)), max(0, t.place))
	if t.place <= 1 {
		t.offset = 0 // the heading above the first row is seen, too
	}
	last := min(len(t.rows), t.offset+height-1)
	widths := t.widths(m)
	lines := []string{m.styles.faint.Render(t.titles(m, widths))}
	for i := t.offset; i < last; i++ {
		lines = append(lines, t.line(m, t.rows[i], widths, i == t.place))
	}
	return lines
}

func (t *table) nothing(m *Model) string {
	switch {
	case m.snapshot == nil || !m.snapshot.Complete():
		return "nothing is known yet"
	case t.filter != "":
		return "nothing matches " + t.filter
	}
	return "there is nothing"
}

// widths are those of the name, since, and the table's own columns. DETAIL has the rest.
func (t *table) widths(m *Model) []int {
	widths := make([]int, 2+len(t.columns))
	widths[0] = len("NAME")
	widths[1] = len("SINCE") + 1
	for i, c := range t.columns {
		widths[2+i] = len(c) + 1 // and the arrow of the order
	}
	for _, r := range t.rows {
		if r.head {
			continue
		}
		widths[0] = max(widths[0], 2*r.level+ansi.StringWidth(r.name))
		for i := range t.columns {
			widths[2+i] = max(widths[2+i], ansi.StringWidth(cell(r, i)))
		}
	}
	widths[0] = min(widths[0], max(16, m.width*2/5))
	return widths
}

func (t *table) titles(m *Model, widths []int) string {
	mark := func(column int, name string) string {
		switch {
		case column != t.order:
			return name
		case t.turned:
			return name + "↑"
		}
		return name + "↓"
	}
	line := "  " + fit(mark(nameColumn, "NAME"), widths[0]) + "  " + fit(mark(stateColumn, "STATE"), stateWidth) + "  " + fit(mark(sinceColumn, "SINCE"), widths[1])
	for i, c := range t.columns {
		line += "  " + fit(mark(ownColumns+i, c), widths[2+i])
	}
	return line + "  DETAIL"
}

func (t *table) line(m *Model, r row, widths []int, here bool) string {
	if r.head {
		return m.styles.head.Render(r.name)
	}
	sign := "  "
	if here {
		sign = "› "
	}
	name := fit(strings.Repeat("  ", r.level)+iostreams.OneLine(r.name), widths[0])
	if here {
		name = m.styles.cursor.Render(name)
	}
	line := sign + name + "  " + fit(m.styles.state(r.part.State), stateWidth) + "  " + fit(m.age(r.part.Since), widths[1])
	for i := range t.columns {
		line += "  " + fit(iostreams.OneLine(cell(r, i)), widths[2+i])
	}
	return line + "  " + iostreams.OneLine(r.part.Reason)
}
