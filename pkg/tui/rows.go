package tui

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/labctl/labctl/pkg/status"
)

// row is a line of a table.
type row struct {
	part  status.Part
	head  bool   // a heading, which has no state
	level int    // how far in it stands
	name  string // as it is shown
	cells []string
}

// lister makes the rows of a table out of a snapshot.
type lister struct {
	title   string
	columns []string // between SINCE and DETAIL
	rows    func(*status.Snapshot) []row
}

// The tables that a command shows, by its name.
var listers = map[string]lister{
	"overview":     {"overview", []string{"READY", "RESTARTS"}, overview},
	"stacks":       {"stacks", nil, func(s *status.Snapshot) []row { return stackRows(s, true) }},
	"components":   {"components", []string{"RESTARTS"}, componentRows},
	"nodes":        {"nodes", []string{"VERSION"}, nodeRows},
	"workloads":    {"workloads", []string{"READY", "RESTARTS"}, func(s *status.Snapshot) []row { return workloadRows(s, "") }},
	"pods":         {"pods", []string{"NODE", "RESTARTS"}, func(s *status.Snapshot) []row { return podRows(s, everyPod) }},
	"applications": {"applications", []string{"SYNC", "HEALTH", "COMMIT"}, applicationRows},
	"services":     {"services", []string{"ERRORS", "P99", "PER SECOND", "LATELY", "P50", "PODS"}, serviceRows},
	"groups":       {"groups", []string{"LAG", "MEMBERS", "LATELY", "TOPICS"}, groupRows},
	"shadows":      {"shadows", []string{"VERDICT", "SAMPLES", "AGREEMENT", "VERSION"}, shadowRows},
	"events":       {"events", []string{"TIMES", "KIND", "WHAT"}, eventRows},
	"sources":      {"sources", nil, sourceRows},
	"problems":     {"problems", nil, problemRows},
}

func heading(text string) row { return row{head: true, name: text} }

func of(p status.Part, level int, name string, cells ...string) row {
	return row{part: p, level: level, name: name, cells: cells}
}

// overview is the whole lab: of what is well the sum, of what is not each part.
func overview(s *status.Snapshot) []row {
	rows := []row{heading("Stacks")}
	rows = append(rows, stackRows(s, false)...)
	if s.Cluster.Declared {
		rows = append(rows, heading(clusterTitle(s)))
		if s.Cluster.State != status.Up {
			rows = append(rows, of(status.Part{Kind: status.KindCluster, Name: s.Lab, Condition: s.Cluster.Condition}, 1, "cluster", "", ""))
		}
		up := 0
		for _, r := range componentRows(s) {
			if r.part.State == status.Up {
				up++
				continue
			}
			r.level, r.cells = 1, []string{"", r.cells[0]}
			rows = append(rows, r)
		}
		if up > 0 {
			all := status.Part{Kind: status.KindComponent, Name: "processes", Condition: status.Condition{State: status.Up}}
			all.Reason = fmt.Sprintf("%d of the cluster's own processes run", up)
			rows = append(rows, of(all, 1, "processes", fmt.Sprint(up), ""))
		}
		for _, r := range nodeRows(s) {
			r.level, r.cells = 1, nil
			rows = append(rows, r)
		}
	}
	for _, n := range s.Namespaces {
		rows = append(rows, heading("Namespace "+n.Name))
		rows = append(rows, workloadRows(s, n.Name)...)
	}
	rows = append(rows, besideRows(s)...)
	first := true
	for _, r := range sourceRows(s) {
		if r.part.State == status.Up {
			continue
		}
		if first {
			rows, first = append(rows, heading("Not known")), false
		}
		r.level = 1
		rows = append(rows, r)
	}
	return rows
}

// besideRows are what a lab may be up without, with its figures in a sentence.
func besideRows(s *status.Snapshot) (rows []row) {
	add := func(title string, of []row, figures func(i int) string) {
		for i, r := range of {
			if i == 0 {
				rows = append(rows, heading(title))
			}
			r.level, r.cells = 1, nil
			r.part.Reason = cmp.Or(r.part.Reason, figures(i))
			rows = append(rows, r)
		}
	}
	add("Argo CD", applicationRows(s), func(i int) string {
		return strings.ToLower(s.Applications[i].Sync+", "+s.Applications[i].Health) + ", at " + short(s.Applications[i].Revision)
	})
	add("Services", serviceRows(s), func(i int) string { return figures(s.Services[i]) })
	add("Kafka", groupRows(s), func(i int) string {
		g := s.Groups[i]
		return fmt.Sprintf("%s behind, %s  %s", counted(g.Lag, "record"), counted(int64(g.Members), "member"), spark(g.History))
	})
	add("Shadows", shadowRows(s), func(int) string { return "" })
	return rows
}

// figures says what a service does.
func figures(v status.Service) string {
	var all []string
	for _, f := range v.Flows {
		all = append(all, rate(f.PerSecond)+" "+f.Name+"/s")
	}
	if v.P99 > 0 {
		all = append(all, "p50 "+took(v.P50)+", p99 "+took(v.P99))
	}
	return strings.TrimSpace(strings.Join(all, ", ") + "  " + spark(v.History))
}

func clusterTitle(s *status.Snapshot) string {
	title := strings.TrimSpace("Cluster " + s.Cluster.Version)
	if s.Cluster.MemoryBytes > 0 {
		title += fmt.Sprintf(", %.2f GiB of memory", float64(s.Cluster.MemoryBytes)/(1<<30))
	}
	return title
}

// stackRows lists the stacks, with the steps of those that are not done, or of all.
func stackRows(s *status.Snapshot, all bool) (rows []row) {
	for _, st := range s.Stacks {
		p := status.Part{Kind: status.KindStack, Name: st.ID, Condition: st.Condition}
		p.Reason = cmp.Or(p.Reason, st.Detail)
		rows = append(rows, of(p, 1, st.ID))
		if len(st.Steps) > 1 && (all || st.State != status.Up && st.State != status.Pending) {
			rows = append(rows, stepRows(st, 2)...)
		}
	}
	return rows
}

func stepRows(st status.Stack, level int) (rows []row) {
	for _, step := range st.Steps {
		p := status.Part{Kind: status.KindStep, Name: step.Name, Condition: step.Condition}
		p.Reason = cmp.Or(p.Reason, step.Detail)
		rows = append(rows, of(p, level, step.Short()))
	}
	return rows
}

func componentRows(s *status.Snapshot) (rows []row) {
	for _, c := range s.Cluster.Components {
		rows = append(rows, of(status.Part{Kind: status.KindComponent, Name: c.Name, Condition: c.Condition}, 0, c.Name, fmt.Sprint(c.Restarts)))
	}
	return rows
}

func nodeRows(s *status.Snapshot) (rows []row) {
	for _, n := range s.Cluster.Nodes {
		rows = append(rows, of(status.Part{Kind: status.KindNode, Name: n.Name, Condition: n.Condition}, 0, "node "+n.Name, n.Version))
	}
	return rows
}

// workloadRows lists the workloads of a namespace, or of all.
func workloadRows(s *status.Snapshot, namespace string) (rows []row) {
	for _, n := range s.Namespaces {
		if namespace != "" && n.Name != namespace {
			continue
		}
		for _, w := range n.Workloads {
			name, level := string(w.Kind)+"/"+w.Name, 1
			if namespace == "" {
				name, level = n.Name+"/"+name, 0
			}
			p := status.Part{Kind: w.Kind, Namespace: n.Name, Name: w.Name, Condition: w.Condition}
			rows = append(rows, of(p, level, name, fmt.Sprintf("%d/%d", w.Ready, w.Desired), fmt.Sprint(w.Restarts)))
		}
	}
	return rows
}

func everyPod(status.Part, status.Pod) bool { return true }

// podRows lists the pods that pick picks, by the workload that they belong to.
func podRows(s *status.Snapshot, pick func(workload status.Part, p status.Pod) bool) (rows []row) {
	for _, n := range s.Namespaces {
		for _, w := range n.Workloads {
			workload := status.Part{Kind: w.Kind, Namespace: n.Name, Name: w.Name}
			for _, p := range w.Pods {
				if pick(workload, p) {
					part := status.Part{Kind: status.KindPod, Namespace: n.Name, Name: p.Name, Condition: p.Condition}
					rows = append(rows, of(part, 0, n.Name+"/"+p.Name, p.Node, fmt.Sprint(p.Restarts)))
				}
			}
		}
	}
	return rows
}

func applicationRows(s *status.Snapshot) (rows []row) {
	for _, a := range s.Applications {
		rows = append(rows, of(status.Part{Kind: status.KindApplication, Name: a.Name, Condition: a.Condition}, 0, a.Name, a.Sync, a.Health, short(a.Revision)))
	}
	return rows
}

func serviceRows(s *status.Snapshot) (rows []row) {
	for _, v := range s.Services {
		var flows []string
		for _, f := range v.Flows {
			flows = append(flows, rate(f.PerSecond)+" "+f.Name)
		}
		errors := ""
		if len(v.Flows) > 0 {
			errors = fmt.Sprintf("%.1f %%", 100*v.Errors)
		}
		rows = append(rows, of(status.Part{Kind: status.KindService, Namespace: v.Namespace, Name: v.Name, Condition: v.Condition}, 0, v.Name,
			errors, took(v.P99), strings.Join(flows, ", "), spark(v.History), took(v.P50), fmt.Sprint(v.Pods)))
	}
	return rows
}

func groupRows(s *status.Snapshot) (rows []row) {
	for _, g := range s.Groups {
		rows = append(rows, of(status.Part{Kind: status.KindGroup, Name: g.Name, Condition: g.Condition}, 0, g.Name,
			fmt.Sprint(g.Lag), fmt.Sprint(g.Members), spark(g.History), strings.Join(g.Topics, ", ")))
	}
	return rows
}

func shadowRows(s *status.Snapshot) (rows []row) {
	for _, w := range s.Shadows {
		agreement := ""
		if w.Samples > 0 {
			agreement = fmt.Sprintf("%.2f %%", 100*w.Agreement)
		}
		rows = append(rows, of(status.Part{Kind: status.KindShadow, Name: w.Service, Condition: w.Condition}, 0, w.Service,
			w.Verdict, fmt.Sprint(w.Samples), agreement, w.Version))
	}
	return rows
}

// eventRows lists what the cluster said last, the newest first.
func eventRows(s *status.Snapshot) (rows []row) {
	for _, e := range s.Events {
		kind := "normal"
		if e.Warning {
			kind = "warning"
		}
		p := status.Part{Kind: status.KindEvent, Namespace: e.Namespace, Name: e.Name, Condition: status.Condition{Since: e.At, Reason: e.Text}}
		name := string(e.Kind) + "/" + e.Object
		if e.Namespace != "" {
			name = e.Namespace + "/" + name
		}
		rows = append(rows, of(p, 0, name, fmt.Sprint(e.Count), kind, e.Reason))
	}
	return rows
}

func sourceRows(s *status.Snapshot) (rows []row) {
	for _, src := range s.Sources {
		rows = append(rows, of(status.Part{Kind: status.KindSource, Name: src.Name, Condition: src.Condition}, 0, src.Name))
	}
	return rows
}

// problemRows lists the parts that are not up, the worst first.
func problemRows(s *status.Snapshot) (rows []row) {
	for _, state := range []status.State{status.Failed, status.Down, status.Partial, status.Working, status.Unknown, status.Pending} {
		for _, p := range s.Parts() {
			if p.State == state && p.Kind != status.KindLab {
				rows = append(rows, of(p, 0, p.String()))
			}
		}
	}
	for _, f := range s.Findings {
		p := status.Part{Kind: status.KindSource, Name: f.Source, Condition: status.Condition{State: status.Partial, Reason: f.Text, Next: f.Next}}
		rows = append(rows, of(p, 0, f.Source))
	}
	return rows
}

// inside gives the table of what a part consists of, where it does.
func inside(p status.Part) (lister, bool) {
	switch p.Kind {
	case status.KindStack:
		return lister{"stack " + p.Name, nil, func(s *status.Snapshot) []row {
			for _, st := range s.Stacks {
				if st.ID == p.Name {
					return stepRows(st, 0)
				}
			}
			return nil
		}}, true
	case status.KindDeployment, status.KindStatefulSet, status.KindDaemonSet:
		return lister{fmt.Sprintf("%s %s in %s", p.Kind, p.Name, p.Namespace), listers["pods"].columns, func(s *status.Snapshot) []row {
			return podRows(s, func(w status.Part, _ status.Pod) bool { return w.String() == p.String() })
		}}, true
	case status.KindService:
		return lister{fmt.Sprintf("service %s in %s", p.Name, p.Namespace), listers["pods"].columns, func(s *status.Snapshot) []row {
			return podRows(s, func(w status.Part, _ status.Pod) bool { return w.Namespace == p.Namespace && w.Name == p.Name })
		}}, true
	case status.KindNode:
		return lister{"node " + p.Name, listers["pods"].columns, func(s *status.Snapshot) []row {
			return podRows(s, func(_ status.Part, pod status.Pod) bool { return pod.Node == p.Name })
		}}, true
	case status.KindComponent:
		return listers["components"], p.Name == "processes"
	}
	return lister{}, false
}
