package render

import (
	"fmt"
	"time"

	"github.com/labctl/labctl/pkg/event"
)

// plan is what is known beforehand of a run: its steps, and how long each took the last time.
type plan struct {
	steps []event.Step
	ended map[string]bool
}

func (p *plan) take(e event.Event) {
	switch e.Kind {
	case event.Planned:
		p.steps, p.ended = e.Plan, map[string]bool{}
	case event.Done, event.Skipped, event.Failed:
		if p.ended != nil {
			p.ended[e.Step] = true
		}
	}
}

// share is how much of the time that a step took before has passed.
func (p *plan) share(s *step, now time.Time) (share float64, known bool) {
	for _, one := range p.steps {
		if one.Name == s.name && one.Took > 0 && !one.Done {
			return float64(now.Sub(s.start)) / float64(one.Took), true
		}
	}
	return 0, false
}

// line says how far the run is and, where it is known of all that is to be done, about how long it goes on.
func (p *plan) line(running []*step, now time.Time) string {
	if len(p.steps) < 2 {
		return ""
	}
	since := map[string]time.Time{}
	for _, s := range running {
		since[s.name] = s.start
	}
	// Those of one stack and kind run at once, as far as AtOnce allows; all else comes one after the other.
	type group struct{ stack, kind string }
	type rest struct {
		steps, atOnce int
		took          time.Duration
	}
	groups := map[group]rest{}
	known, ended := true, 0
	for _, s := range p.steps {
		if p.ended[s.Name] {
			ended++
			continue
		}
		if s.Done { // mostly nothing of it changed
			continue
		}
		took := s.Took
		known = known && took > 0
		if start, runs := since[s.Name]; runs {
			took = max(0, took-now.Sub(start))
		}
		g := groups[group{s.Stack, s.Kind}]
		groups[group{s.Stack, s.Kind}] = rest{g.steps + 1, max(1, s.AtOnce), g.took + took}
	}
	var left time.Duration
	for _, g := range groups {
		left += g.took / time.Duration(min(g.steps, g.atOnce))
	}
	text := fmt.Sprintf("%d of %d steps", ended, len(p.steps))
	if known && left >= time.Second {
		text += ", about " + short(left.Round(time.Second)) + " left"
	}
	return text
}
