package argocd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// App is an Application of Argo CD, as its controller sees it.
type App struct {
	Name      string    `json:"name"`
	Role      string    `json:"role,omitempty"` // root or part, of those that labctl makes
	Sync      string    `json:"sync"`           // Synced, OutOfSync, Unknown
	Health    string    `json:"health"`         // Healthy, Progressing, Degraded, Suspended, Missing, Unknown
	Revision  string    `json:"revision"`       // the commit that it was last compared with
	Synced    string    `json:"synced"`         // the last commit that was applied whole: what runs, while a later one is broken
	Message   string    `json:"message,omitempty"`
	At        time.Time `json:"at,omitzero"` // when it was looked at last
	resources []kube.Object
	syncing   bool
}

// applications gives those of a release.
func (d Delivery) applications(ctx context.Context, client *kube.Client) ([]App, error) {
	return Apps(ctx, client, d.labels())
}

// Apps gives the applications that have the labels, roots first.
func Apps(ctx context.Context, client *kube.Client, with labels.Set) ([]App, error) {
	list, err := client.List(ctx, applicationKind, Namespace, with)
	if err != nil {
		return nil, fmt.Errorf("list the applications of Argo CD: %w", err)
	}
	var out []App
	for _, o := range list {
		text, err := json.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		var a v1alpha1.Application
		if err := json.Unmarshal(text, &a); err != nil {
			return nil, fmt.Errorf("read application %s: %w", o.GetName(), err)
		}
		out = append(out, appOf(&a))
	}
	slices.SortStableFunc(out, func(a, b App) int {
		if (a.Role == rootRole) != (b.Role == rootRole) {
			return strings.Compare(b.Role, a.Role) // root before part
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

func appOf(a *v1alpha1.Application) App {
	app := App{
		Name: a.Name, Role: a.Labels[roleLabel], Sync: string(a.Status.Sync.Status), Health: string(a.Status.Health.Status),
		Revision: a.Status.Sync.Revision, syncing: a.Operation != nil,
	}
	if a.Status.ReconciledAt != nil {
		app.At = a.Status.ReconciledAt.Time
	}
	if n := len(a.Status.History); n > 0 {
		app.Synced = a.Status.History[n-1].Revision
	}
	if app.Sync == "Synced" { // also where there was nothing to apply
		app.Synced = app.Revision
	}
	for _, r := range a.Status.Resources {
		if r.RequiresPruning || r.Hook {
			continue
		}
		app.resources = append(app.resources, kube.Object{
			GVK: schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}, Namespace: r.Namespace, Name: r.Name,
		})
	}
	app.Message = messageOf(a)
	if op := a.Status.OperationState; op != nil && op.Phase == "Running" {
		app.syncing = true
	}
	return app
}

// messageOf says what is wrong with an application, in Argo CD's words; "" where nothing is.
func messageOf(a *v1alpha1.Application) string {
	for _, c := range a.Status.Conditions {
		if strings.HasSuffix(c.Type, "Error") || strings.HasSuffix(c.Type, "Warning") {
			return c.Message
		}
	}
	if op := a.Status.OperationState; op != nil && (op.Phase == "Failed" || op.Phase == "Error") {
		for _, r := range resultOf(op) {
			if r.Status == "SyncFailed" {
				return fmt.Sprintf("%s/%s: %s", strings.ToLower(r.Kind), r.Name, r.Message)
			}
		}
		return op.Message
	}
	if a.Status.Health.Status != "Healthy" {
		for _, r := range a.Status.Resources {
			if r.Health == nil || r.Health.Status != a.Status.Health.Status {
				continue
			}
			name := fmt.Sprintf("%s/%s", strings.ToLower(r.Kind), r.Name)
			if r.Health.Message == "" {
				return name
			}
			return name + ": " + r.Health.Message
		}
	}
	return ""
}

func resultOf(op *v1alpha1.OperationState) v1alpha1.ResourceResults {
	if op.SyncResult == nil {
		return nil
	}
	return op.SyncResult.Resources
}

// Well says whether an application is synced and healthy.
func (a App) Well() bool { return a.whyNot("") == "" }

// whyNot says why an application is not synced and healthy, at a commit where one is given; "" where it is.
func (a App) whyNot(commit string) string {
	var why string
	switch {
	case a.Sync != "Synced":
		why = "is " + orUnknown(a.Sync)
	case a.syncing:
		why = "is being synced"
	case a.Health != "Healthy":
		why = "is " + orUnknown(a.Health)
	case commit != "" && a.Revision != commit:
		return "has not seen the last commit yet"
	default:
		return ""
	}
	if a.Message != "" {
		why += ": " + a.Message
	}
	return why
}

func orUnknown(status string) string {
	if status == "" {
		return "Unknown"
	}
	return status
}

// deliverWithin is how long a commit may take to be what runs.
const deliverWithin = 5 * time.Minute

// brokenWithin is how long Argo CD may fail to read what is in Git before labctl gives up: what does not render does not mend itself.
const brokenWithin = 30 * time.Second

// lookEvery is the time between two looks at the applications.
const lookEvery = 300 * time.Millisecond

// Wait waits until the root application and those of the parts are synced to a commit and healthy, with the reason of what is not.
func (d Delivery) Wait(ctx context.Context, client *kube.Client, commit string, report event.Report) error {
	ctx, cancel := context.WithTimeout(ctx, deliverWithin)
	defer cancel()
	want := d.size()
	asked := map[string]bool{}
	broken := map[string]time.Time{} // since when
	ready := false                   // all objects are, by what labctl knows itself
	for {
		apps, err := d.applications(ctx, client)
		if err != nil {
			return err
		}
		var waiting []string
		var first App
		synced := true
		for _, a := range apps {
			why := a.whyNot(commit)
			if why == "" {
				continue
			}
			if len(waiting) == 0 {
				first = a
			}
			waiting = append(waiting, a.Name)
			switch since, is := broken[a.Name]; {
			case a.Sync != "Unknown" || a.Message == "":
				delete(broken, a.Name)
			case !is:
				broken[a.Name] = time.Now()
			case time.Since(since) > brokenWithin:
				return &kube.NotReadyError{Namespace: Namespace, Workload: "application/" + a.Name, Reason: a.Message}
			}
			if !asked[a.Name] { // Argo CD looks by itself only every three minutes
				if err := Refresh(ctx, client, a.Name); err != nil {
					return err
				}
				asked[a.Name] = true
			}
			synced = synced && a.Revision == commit && a.Sync == "Synced" && !a.syncing
		}
		report.At(int64(len(apps)-len(waiting)), int64(want), "%s", waitingFor(waiting))
		if len(waiting) == 0 && len(apps) >= want {
			return nil
		}
		if synced && !ready && len(apps) >= want { // what is left is that pods get ready, of which more is known here
			var objects []kube.Object
			for _, a := range apps {
				if a.Role == partRole {
					objects = append(objects, a.resources...)
				}
			}
			if err := client.WaitObjects(ctx, objects, report); err != nil {
				return err
			}
			ready = true
		}
		select {
		case <-ctx.Done():
			if len(apps) < want {
				return d.notReady(d.Root(), fmt.Sprintf("of %d applications there are %d", want, len(apps)), ctx.Err())
			}
			return d.notReady(first.Name, first.whyNot(commit), ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

func (d Delivery) notReady(app, reason string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &kube.NotReadyError{Namespace: Namespace, Workload: "application/" + app, Reason: strings.TrimPrefix(reason, "is "), Err: err}
}

func waitingFor(names []string) string {
	if len(names) == 0 {
		return "all applications synced and healthy"
	}
	return "waiting for Argo CD: " + strings.Join(names, ", ")
}

// Refresh makes Argo CD compare an application with Git now.
func Refresh(ctx context.Context, client *kube.Client, name string) error {
	err := client.Patch(ctx, applicationKind, Namespace, name, []byte(`{"metadata":{"annotations":{"`+v1alpha1.AnnotationKeyRefresh+`":"normal"}}}`))
	if err != nil {
		return fmt.Errorf("make Argo CD look at application %s: %w", name, err)
	}
	return nil
}
