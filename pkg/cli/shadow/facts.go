package shadow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// fact is a line of what is known of a shadow, in its status and in its report.
type fact struct{ Name, Is string }

// countedFacts say what the results are, and what is none.
func countedFacts(e shadow.Evidence) (facts []fact) {
	add := func(name, format string, a ...any) { facts = append(facts, fact{name, fmt.Sprintf(format, a...)}) }
	if e.Nothing > 0 {
		add("nothing", "%d records led to nothing on all sides, and are no results", e.Nothing)
	}
	if e.Requests > 0 {
		add("requests", "%d of the results are answers to requests", e.Requests)
	}
	if len(e.LeftOut) > 0 {
		add("left out", "%s", leftOut(e))
	}
	if n := e.Sockets; n != nil {
		add("sockets", "%d mirrored, %d of them open; of what they were told, %d did not count (labctl shadow status --json says why)",
			n.Sockets, n.Open, n.Before+n.After+n.Dropped)
	}
	if e.Intended > 0 {
		add("intended", "%d results differ only where they are meant to", e.Intended)
	}
	if latency := latencies(e.Verdict); latency != "" {
		add("latency", "%s", latency)
	}
	return facts
}

// troubleFacts say why nothing is compared any more, or what a comparer that starts again would not know.
func troubleFacts(e shadow.Evidence) (facts []fact) {
	for _, f := range []fact{{"stopped", e.Error}, {"not saved", e.Unsaved}} {
		if f.Is != "" {
			facts = append(facts, f)
		}
	}
	return facts
}

// leftOut says how many requests were not compared, and why.
func leftOut(e shadow.Evidence) string {
	var all int64
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(e.LeftOut)) {
		all += e.LeftOut[reason]
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, e.LeftOut[reason]))
	}
	return fmt.Sprintf("%d requests: %s", all, strings.Join(reasons, ", "))
}

// latencies says how the candidate's compare with the baseline's, at each quantile that the policy judges.
func latencies(v verdict.Verdict) string {
	var all []string
	for _, c := range v.Conditions {
		if quantile, ok := strings.CutPrefix(c.Name, "latency-"); ok && c.Samples > 0 {
			all = append(all, fmt.Sprintf("%s %.2f", quantile, c.Value))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, ", ") + " times the baseline's"
}
