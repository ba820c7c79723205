package tui

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/status"
)

// maxLines is how much of a text is kept: of logs the last lines are the ones that count.
const maxLines = 10_000

// pager is a pane with text, such as a log, which may go on.
type pager struct {
	title  string
	filter string
	lines  []string
	offset int
	follow bool // the end is shown as it grows
	state  string
	action *Action // whose output it is; nil: of no action

	source *source
}

// source is where a pager's text comes from.
type source struct {
	lines  chan []string
	cancel context.CancelFunc
	failed error
}

type textMsg struct {
	pager *pager
	lines []string
	done  bool
	err   error
}

// ask opens text about a part.
func (m *Model) ask(what Ask, p status.Part) tea.Cmd {
	if m.opts.Open == nil || !canAsk(what, p) {
		m.notice = fmt.Sprintf("%s has no %s", p, what)
		return nil
	}
	pg := &pager{title: string(what) + " of " + p.String(), follow: what == AskLogs, state: "opening"}
	ctx := m.opened(pg)
	return func() tea.Msg {
		r, err := m.opts.Open(ctx, what, p)
		if err != nil {
			pg.close()
			return textMsg{pager: pg, done: true, err: err}
		}
		go pg.source.pump(ctx, r)
		return pg.source.next(pg)
	}
}

// opened shows a pager whose text is to come. The context ends with it.
func (m *Model) opened(pg *pager) context.Context {
	ctx, cancel := context.WithCancel(m.ctx)
	pg.source = &source{lines: make(chan []string, 16), cancel: cancel}
	m.push(pg)
	return ctx
}

// pump reads lines to the end. What comes together is told together.
func (s *source) pump(ctx context.Context, r io.ReadCloser) {
	defer close(s.lines)
	defer r.Close()
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	defer stop()
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadString('\n')
		batch := []string{}
		if line != "" {
			batch = append(batch, strings.TrimRight(line, "\r\n"))
		}
		for err == nil && in.Buffered() > 0 && len(batch) < 1000 {
			if line, err = in.ReadString('\n'); line != "" {
				batch = append(batch, strings.TrimRight(line, "\r\n"))
			}
		}
		select {
		case s.lines <- batch:
		case <-ctx.Done():
			return
		}
		if err != nil {
			if err != io.EOF && ctx.Err() == nil {
				s.failed = err // read after the channel is closed
			}
			return
		}
	}
}

func (s *source) next(pg *pager) tea.Msg {
	lines, more := <-s.lines
	if !more {
		return textMsg{pager: pg, done: true, err: s.failed}
	}
	return textMsg{pager: pg, lines: lines}
}

// take adds text, and asks for more.
func (p *pager) take(msg textMsg) tea.Cmd {
	for _, l := range msg.lines {
		p.lines = append(p.lines, iostreams.OneLine(strings.ReplaceAll(ansi.Strip(l), "\t", "    ")))
	}
	if over := len(p.lines) - maxLines; over > 0 {
		p.lines = append([]string(nil), p.lines[over:]...)
	}
	switch {
	case msg.err != nil:
		p.state = msg.err.Error()
		return nil
	case msg.done && p.action != nil:
		p.state = "done"
		return nil
	case msg.done:
		p.state = "end"
		return nil
	}
	p.state = ""
	return func() tea.Msg { return p.source.next(p) }
}

func (p *pager) close() {
	if p.source != nil {
		p.source.cancel()
	}
}

func (p *pager) name() string {
	name := p.title
	if p.filter != "" {
		name += " /" + p.filter
	}
	if p.follow {
		name += " (follows)"
	}
	return name
}

func (p *pager) press(m *Model, key string) tea.Cmd {
	page := max(1, m.room()-1)
	was := p.offset
	switch key {
	case "up", "k":
		p.offset--
	case "down", "j":
		p.offset++
	case "pgup", "ctrl+b":
		p.offset -= page
	case "pgdown", "ctrl+f", " ":
		p.offset += page
	case "home", "g":
		p.offset = 0
	case "end", "G":
		p.offset = len(p.lines)
		p.follow = true
	case "f":
		p.follow = !p.follow
	}
	if p.offset < was {
		p.follow = false
	}
	return nil
}

func (p *pager) draw(m *Model, height int) []string {
	shown := p.lines
	if p.filter != "" {
		shown = nil
		for _, l := range p.lines {
			if strings.Contains(strings.ToLower(l), strings.ToLower(p.filter)) {
				shown = append(shown, l)
			}
		}
	}
	if p.state != "" {
		shown = append(shown[:len(shown):len(shown)], m.styles.faint.Render("— "+iostreams.OneLine(p.state)+" —"))
	}
	last := max(0, len(shown)-height)
	if p.follow {
		p.offset = last
	}
	p.offset = min(max(p.offset, 0), last)
	return shown[p.offset:min(len(shown), p.offset+height)]
}
