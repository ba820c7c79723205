package tui

import (
	"maps"
	"slices"
	"strings"

	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"
)

// input is a line that is typed: a filter, which works as it is typed, or a command.
type input struct {
	kind rune // '/' or ':'
	text textinput.Model
}

func newInput(kind rune, text string) *input {
	in := &input{kind: kind, text: textinput.New()}
	in.text.Prompt = string(kind)
	in.text.SetValue(text)
	in.text.CursorEnd()
	in.text.Focus()
	in.text.Cursor.SetMode(2) // no cursor of its own, whose blinking would redraw the screen for ever
	return in
}

// commands are what may be typed after a colon.
func commands() []string { return append(slices.Sorted(maps.Keys(listers)), "help", "quit") }

func (in *input) key(m *Model, msg tea.KeyMsg) tea.Cmd {
	switch msg.String() {
	case "esc":
		m.input = nil
		if in.kind == '/' {
			m.setFilter("")
		}
		return nil
	case "enter":
		m.input = nil
		if in.kind == ':' {
			return in.run(m)
		}
		return nil
	case "tab":
		if l := in.matching(); in.kind == ':' && len(l) > 0 {
			in.text.SetValue(l[0])
			in.text.CursorEnd()
		}
		return nil
	}
	in.text, _ = in.text.Update(msg)
	if in.kind == '/' {
		m.setFilter(in.text.Value())
	}
	return nil
}

// matching are the commands that begin as what is typed does.
func (in *input) matching() (found []string) {
	for _, c := range commands() {
		if strings.HasPrefix(c, in.text.Value()) {
			found = append(found, c)
		}
	}
	return found
}

func (in *input) run(m *Model) tea.Cmd {
	typed := strings.TrimSpace(in.text.Value())
	l := in.matching()
	if len(l) == 1 || len(l) > 1 && typed != "" {
		typed = l[0]
	}
	switch typed {
	case "":
	case "q", "quit":
		return m.quit()
	case "help":
		m.help = true
	default:
		if !m.show(typed) {
			m.notice = "there is no command " + typed + "; there are " + strings.Join(commands(), ", ")
		}
	}
	return nil
}

func (in *input) draw(m *Model) string {
	line := string(in.kind) + in.text.Value() + "▏"
	if in.kind == ':' {
		line += "  " + m.styles.faint.Render(strings.Join(in.matching(), "  "))
	}
	return line
}
