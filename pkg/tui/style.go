package tui

import (
	"io"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/labctl/labctl/pkg/status"
)

// styles use the terminal's own sixteen colours, which its user has chosen for a light or a dark background.
type styles struct {
	title, head, faint, cursor, key, problem lipgloss.Style
	states                                   map[status.State]lipgloss.Style
}

func newStyles(out io.Writer, color bool) styles {
	profile := termenv.Ascii
	if color {
		profile = termenv.ANSI
	}
	r := lipgloss.NewRenderer(out, termenv.WithProfile(profile))
	paint := func(c string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(c)) }
	red, green, yellow, cyan := paint("1"), paint("2"), paint("3"), paint("6")
	faint := r.NewStyle().Faint(true)
	return styles{
		title: r.NewStyle().Bold(true), head: cyan.Bold(true), faint: faint, cursor: r.NewStyle().Reverse(true), key: cyan, problem: red,
		states: map[status.State]lipgloss.Style{
			status.Up: green, status.Working: cyan, status.Pending: faint, status.Partial: yellow, status.Failed: red, status.Down: red, status.Unknown: faint,
		},
	}
}

// signs tell the states apart without a colour.
var signs = map[status.State]string{
	status.Up: "●", status.Working: "◐", status.Pending: "○", status.Partial: "◑", status.Failed: "✗", status.Down: "✗", status.Unknown: "?",
}

// stateWidth is the width of the longest sign and state.
const stateWidth = len("x working")

func (s styles) state(state status.State) string {
	if state == "" {
		return ""
	}
	return s.states[state].Render(signs[state] + " " + string(state))
}

// fit cuts or fills text to so many columns.
func fit(s string, columns int) string {
	if columns <= 0 {
		return ""
	}
	s = ansi.Truncate(s, columns, "…")
	return s + strings.Repeat(" ", max(0, columns-ansi.StringWidth(s)))
}
