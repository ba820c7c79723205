package status

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Text writes a snapshot for people: the state and the problems first, then aligned tables. A stack's steps are listed
// only while some of them are not done.
func (s *Snapshot) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (environment %s, target %s) is %s\n", s.Lab, s.Environment, s.Target, s.State)
	for _, u := range s.URLs {
		fmt.Fprintf(&b, "  %s: %s\n", u.Name, u.Address)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "  ! %s\n", p)
	}

	t := table{{"STACK", "STATE", "SINCE", "DETAIL"}}
	for _, st := range s.Stacks {
		t.add(st.ID, string(st.State), s.age(st.Since), cmp.Or(st.Reason, st.Detail))
		if st.State == Up || st.State == Pending || len(st.Steps) == 1 {
			continue
		}
		for _, step := range st.Steps {
			t.add("  "+step.Short(), string(step.State), s.age(step.Since), cmp.Or(step.Reason, step.Detail))
		}
	}
	t.write(&b)

	c := s.Cluster
	if c.Version != "" || c.MemoryBytes > 0 {
		b.WriteString("\n" + strings.TrimSpace("Kubernetes "+c.Version))
		if c.MemoryBytes > 0 {
			fmt.Fprintf(&b, ", %.2f GiB of memory in all", float64(c.MemoryBytes)/(1<<30))
		}
		b.WriteString("\n")
	}
	t = table{{"COMPONENT", "STATE", "RESTARTS", "SINCE", "DETAIL"}}
	for _, p := range c.Components {
		t.add(p.Name, string(p.State), fmt.Sprint(p.Restarts), s.age(p.Since), p.Reason)
	}
	t.write(&b)
	t = table{{"NODE", "STATE", "VERSION", "AGE", "DETAIL"}}
	for _, n := range c.Nodes {
		t.add(n.Name, string(n.State), n.Version, s.age(n.Created), n.Reason)
	}
	t.write(&b)
	t = table{{"NAMESPACE", "WORKLOAD", "STATE", "READY", "RESTARTS", "AGE", "DETAIL"}}
	for _, n := range s.Namespaces {
		for _, w := range n.Workloads {
			t.add(n.Name, string(w.Kind)+"/"+w.Name, string(w.State), fmt.Sprintf("%d/%d", w.Ready, w.Desired), fmt.Sprint(w.Restarts), s.age(w.Created), w.Reason)
		}
	}
	t.write(&b)
	s.besideText(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// besideText writes what a lab may be up without. Rates take two looks, so a status that is printed once has none.
func (s *Snapshot) besideText(b *strings.Builder) {
	t := table{{"APPLICATION", "STATE", "SYNC", "HEALTH", "SINCE", "DETAIL"}}
	for _, a := range s.Applications {
		t.add(a.Name, string(a.State), a.Sync, a.Health, s.age(a.Since), a.Reason)
	}
	t.write(b)
	t = table{{"GROUP", "STATE", "LAG", "MEMBERS", "DETAIL"}}
	for _, g := range s.Groups {
		t.add(g.Name, string(g.State), fmt.Sprint(g.Lag), fmt.Sprint(g.Members), g.Reason)
	}
	t.write(b)
	t = table{{"SHADOW", "STATE", "SAMPLES", "VERSION", "DETAIL"}}
	for _, w := range s.Shadows {
		t.add(w.Service, string(w.State), fmt.Sprint(w.Samples), w.Version, w.Reason)
	}
	t.write(b)
}

func (s *Snapshot) age(then time.Time) string { return Age(s.At, then) }

// Age gives the time from then to now in its largest unit or two: 45s, 12m, 3h20m, 5d; nothing where then is not known.
func Age(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	switch d := max(now.Sub(then), 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	}
}

// table is rows of cells under a head. Columns of which every cell is empty are left out.
type table [][]string

func (t *table) add(cells ...string) { *t = append(*t, cells) }

func (t table) write(b *strings.Builder) {
	if len(t) < 2 {
		return
	}
	width := make([]int, len(t[0]))
	for _, row := range t[1:] {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for i, head := range t[0] {
		if width[i] > 0 {
			width[i] = max(width[i], len(head))
		}
	}
	b.WriteString("\n")
	for _, row := range t {
		var line strings.Builder
		for i, cell := range row {
			if width[i] == 0 {
				continue
			}
			line.WriteString(cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// Since tells what is in another state than in an earlier snapshot, a line each.
func (s *Snapshot) Since(earlier *Snapshot) (lines []string) {
	was := map[string]Condition{}
	for _, p := range earlier.Parts() {
		was[p.String()] = p.Condition
	}
	for _, p := range s.Parts() {
		before, had := was[p.String()]
		delete(was, p.String())
		if had && before.State == p.State && before.Reason == p.Reason {
			continue
		}
		lines = append(lines, strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", p, p.State, p.Reason), ": "))
	}
	for _, p := range earlier.Parts() {
		if _, gone := was[p.String()]; gone {
			lines = append(lines, p.String()+" is gone")
		}
	}
	return lines
}
