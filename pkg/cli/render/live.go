package render

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Escape sequences. The cursor is hidden only within one write, so that no end of the process, kill -9 included, can
// leave a terminal without one.
const (
	hide   = "\x1b[?25l"
	show   = "\x1b[?25h"
	erase  = "\x1b[J" // from the cursor to the end of the screen
	reset  = "\x1b[0m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	faint  = "\x1b[2m"
)

func (r *Renderer) paint(color, s string) string {
	if !r.opts.Streams.Color {
		return s
	}
	return color + s + reset
}

// draw replaces the block on the terminal. The caller holds the lock.
func (r *Renderer) draw() {
	columns, rows := r.opts.Size()
	block := r.block(columns, rows)
	if len(block) == 0 && len(r.drawn) == 0 && len(r.above) == 0 {
		return
	}
	var b strings.Builder
	b.WriteString(hide)
	if up := r.height(columns); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r" + erase)
	for _, line := range r.above {
		b.WriteString(line + "\n")
	}
	for _, line := range block {
		b.WriteString(line + "\n")
	}
	b.WriteString(show)
	r.above, r.drawn = nil, block
	_, _ = io.WriteString(r.opts.Streams.Err, b.String())
}

// height is the number of rows that the block takes now: a terminal that became narrower has wrapped its lines.
func (r *Renderer) height(columns int) int {
	rows := 0
	for _, line := range r.drawn {
		rows += max(1, (width(line)+columns-1)/max(columns, 1))
	}
	return rows
}

func (r *Renderer) block(columns, rows int) []string {
	now := r.opts.Now()
	spinner := []rune(spinnerFrames)
	steps, more := r.steps, 0
	ahead := r.plan.line(steps, now)
	room := rows - 2
	if ahead != "" {
		room--
	}
	if room = max(room, 1); len(steps) > room {
		steps, more = steps[:room], len(steps)-room
	}
	lines := make([]string, 0, len(steps)+1)
	for _, s := range steps {
		elapsed := short(now.Sub(s.start))
		bar := ""
		if s.total > 0 {
			bar = r.bar(s.done, s.total)
		} else if share, known := r.plan.share(s, now); known {
			bar = r.filled(share) + " "
		}
		// One column stays free: a terminal wraps, or not, when the last one is written.
		room := columns - 1 - 2 - utf8.RuneCountInString(s.name) - width(bar) - 2 - len(elapsed)
		if bar != "" && room < minMessageRoom {
			bar, room = "", room+width(bar)
		}
		text := s.name
		if s.message != "" || bar != "" {
			text = s.name + "  "
			room -= 2
		}
		line := r.paint(cyan, string(spinner[r.frame%len(spinner)])) + " " + text + bar +
			cut(s.message, room) + "  " + r.paint(faint, elapsed)
		if width(line) >= columns {
			line = cut(string(spinner[r.frame%len(spinner)])+" "+s.name, columns-1)
		}
		lines = append(lines, line)
	}
	if more > 0 {
		lines = append(lines, r.paint(faint, fmt.Sprintf("  and %d more", more)))
	}
	if ahead != "" && len(lines) > 0 {
		lines = append(lines, r.paint(faint, cut("  "+ahead, columns-1)))
	}
	return lines
}

func (r *Renderer) bar(done, total int64) string {
	return r.filled(float64(done)/float64(total)) + fmt.Sprintf(" %s/%s ", count(done, total), count(total, total))
}

func (r *Renderer) filled(share float64) string {
	n := int(min(max(share, 0), 1) * barWidth)
	return r.paint(green, strings.Repeat("█", n)) + r.paint(faint, strings.Repeat("░", barWidth-n))
}

// count shortens large totals, which are bytes, to MB.
func count(n, total int64) string {
	if total >= 10_000_000 {
		return fmt.Sprintf("%.0fMB", float64(n)/1e6)
	}
	return fmt.Sprint(n)
}

// cut shortens s to n columns.
func cut(s string, n int) string {
	if n <= 0 {
		return ""
	}
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// width is the number of columns that s takes: escape sequences take none.
func width(s string) int {
	n, escape := 0, false
	for _, c := range s {
		switch {
		case c == 0x1b:
			escape = true
		case escape:
			escape = c != 'm'
		default:
			n++
		}
	}
	return n
}
