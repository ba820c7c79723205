package chart

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/release"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

const (
	// podSecurity is an annotation of a chart: the pod security level that a namespace made for it enforces.
	podSecurity = "labctl/pod-security"
	// kept is how many revisions of a release stay readable, the deployed one included.
	kept = 5
)

// Action is what has to be done for a release to stand as described.
type Action string

// The actions.
const (
	Nothing   Action = "nothing"   // it stands
	Install   Action = "install"   // there is none
	Upgrade   Action = "upgrade"   // the chart or the values have changed
	Repair    Action = "repair"    // objects are missing or were changed by hand
	TakeOver  Action = "take over" // an earlier operation was cut off or failed
	Reinstall Action = "reinstall" // its removal was cut off
)

// Plan is an action and why it is needed.
type Plan struct {
	Action Action
	Why    string
	Drift  []string // for Repair: "Deployment auth: missing", "Service auth: changed"
}

// Plan says what Ensure would do. It changes nothing.
func (c *Client) Plan(ctx context.Context, r Release) (Plan, error) {
	secrets := sensitive(r)
	ctx, cancel := context.WithTimeout(ctx, r.timeout())
	defer cancel()
	plan, err := func() (Plan, error) {
		l, err := load(r, secrets)
		if err != nil {
			return Plan{}, err
		}
		s, err := c.open(ctx, r.Namespace, func(string) {})
		if err != nil {
			return Plan{}, err
		}
		revisions, err := s.history(r.Name)
		if err != nil {
			return Plan{}, err
		}
		return s.plan(ctx, l, revisions)
	}()
	if err != nil {
		return Plan{}, secrets.Error(fmt.Errorf("plan release %q in namespace %q: %w", r.Name, r.Namespace, err))
	}
	return plan, nil
}

// Ensure makes the release stand as described, and waits until it is ready. It may be called again at any time, after a
// failure or a kill too: it goes on from what it finds. Changed says that the cluster was written to. A *ValuesError
// says that the values are wrong, an *UnreachableError that the cluster does not answer; that something
// is not ready is a *kube.NotReadyError.
func (c *Client) Ensure(ctx context.Context, r Release, report event.Report) (changed bool, err error) {
	secrets := sensitive(r)
	report = redacting(report, secrets)
	defer func() {
		if err != nil {
			err = secrets.Error(fmt.Errorf("release %q in namespace %q: %w", r.Name, r.Namespace, err))
		}
	}()
	l, err := load(r, secrets)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout(), fmt.Errorf("not done within %s: %w", r.timeout(), context.DeadlineExceeded))
	defer cancel()
	unlock, err := c.lock(ctx, r.Namespace, r.Name)
	if err != nil {
		return false, err
	}
	defer unlock()
	report.Doing("compare with what stands")
	s, err := c.open(ctx, r.Namespace, report.Line)
	if err != nil {
		return false, err
	}
	revisions, err := s.history(r.Name)
	if err != nil {
		return false, ended(ctx, err)
	}
	plan, err := s.plan(ctx, l, revisions)
	if err != nil {
		return false, ended(ctx, err)
	}
	if plan.Action != Nothing {
		report.Doing("%s: %s", plan.Action, plan.Why)
		for _, d := range plan.Drift {
			report.Line(d)
		}
		if err := s.carryOut(ctx, plan.Action, l, revisions); err != nil {
			return true, ended(ctx, fmt.Errorf("%s: %w", plan.Action, s.withCause(err)))
		}
	}
	if r.NoWait {
		return plan.Action != Nothing, nil
	}
	if plan.Action != Nothing {
		if revisions, err = s.history(r.Name); err != nil {
			return true, ended(ctx, err)
		}
	}
	report.Doing("wait until ready")
	return plan.Action != Nothing, c.waitReady(ctx, s, revisions, report)
}

// ended gives the reason for which ctx ended, where it did: what Helm says then is only that its request failed.
func ended(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (%v)", cause, err)
}

func (s *session) plan(ctx context.Context, l *loaded, revisions []*release.Release) (Plan, error) {
	if len(revisions) == 0 {
		return Plan{Action: Install, Why: "there is none yet"}, nil
	}
	last := revisions[len(revisions)-1]
	switch status := last.Info.Status; status {
	case release.StatusUninstalled:
		return Plan{Action: Install, Why: "it was uninstalled"}, nil
	case release.StatusUninstalling:
		return Plan{Action: Reinstall, Why: "its removal was cut off"}, nil
	case release.StatusDeployed:
	case release.StatusFailed:
		return Plan{Action: TakeOver, Why: fmt.Sprintf("revision %d failed", last.Version)}, nil
	default:
		return Plan{Action: TakeOver, Why: fmt.Sprintf("revision %d was cut off (%s)", last.Version, status)}, nil
	}
	switch last.Labels[hashLabel] {
	case l.hash:
	case "":
		if by, ok := rollback(last); ok {
			return Plan{Action: Upgrade, Why: by}, nil
		}
		return Plan{Action: Upgrade, Why: fmt.Sprintf("revision %d is not labctl's", last.Version)}, nil
	default:
		if by, ok := rollback(last); ok {
			return Plan{Action: Upgrade, Why: by}, nil
		}
		return Plan{Action: Upgrade, Why: "the chart or its values have changed"}, nil
	}
	drift, err := s.drift(ctx, last.Manifest)
	if err != nil {
		return Plan{}, fmt.Errorf("compare with what stands: %w", err)
	}
	if len(drift) > 0 {
		return Plan{Action: Repair, Why: strings.Join(drift, ", "), Drift: drift}, nil
	}
	return Plan{Action: Nothing, Why: "nothing has changed"}, nil
}

// rollback says that a revision was made by `helm rollback`, which labctl never calls.
func rollback(r *release.Release) (string, bool) {
	to, ok := strings.CutPrefix(r.Info.Description, "Rollback to ")
	if !ok {
		return "", false
	}
	return fmt.Sprintf("somebody rolled it back to revision %s by hand (revision %d); to keep that, change the chart or the values in the lab", to, r.Version), true
}

func (s *session) carryOut(ctx context.Context, what Action, l *loaded, revisions []*release.Release) error {
	if err := kube.EnsureNamespace(ctx, s.core, l.Namespace, l.chart.Metadata.Annotations[podSecurity]); err != nil {
		return err
	}
	switch what {
	case Reinstall:
		if err := s.uninstall(ctx, l.Name, revisions); err != nil {
			return fmt.Errorf("end the removal: %w", err)
		}
		return s.install(ctx, l)
	case Install:
		return s.install(ctx, l)
	case TakeOver:
		return s.takeOver(ctx, l, revisions)
	default:
		return s.upgrade(ctx, l)
	}
}

func (s *session) install(ctx context.Context, l *loaded) error {
	if l.UpgradeCRDs { // those of an earlier release may still stand
		if err := s.upgradeCRDs(ctx, l.chart); err != nil {
			return err
		}
	}
	a := action.NewInstall(s.cfg)
	a.ReleaseName, a.Namespace, a.Timeout = l.Name, l.Namespace, l.timeout()
	a.TakeOwnership = l.Adopt
	a.Replace = true // of a release that was uninstalled with its history kept
	a.Labels = l.record()
	_, err := a.Run(l.chart, l.values)
	return err
}

func (s *session) upgrade(ctx context.Context, l *loaded) error {
	if l.UpgradeCRDs {
		if err := s.upgradeCRDs(ctx, l.chart); err != nil {
			return err
		}
	}
	a := action.NewUpgrade(s.cfg)
	a.TakeOwnership = l.Adopt
	a.Namespace, a.Timeout, a.MaxHistory = l.Namespace, l.timeout(), kept
	a.ResetValues = true // the values given are all there are
	a.Labels = l.record()
	_, err := a.Run(l.Name, l.chart, l.values)
	return err
}

// takeOver goes on where an operation failed or was killed. Helm refuses to touch a release that is pending, so its
// record is closed as failed; the upgrade then starts from the last revision that was deployed. A rollback is not
// needed for that and would start old pods in between. What only the abandoned revisions had made is removed last.
func (s *session) takeOver(ctx context.Context, l *loaded, revisions []*release.Release) error {
	last := revisions[len(revisions)-1]
	if last.Info.Status != release.StatusFailed {
		last.SetStatus(release.StatusFailed, "cut off; taken over by labctl")
		if err := s.cfg.Releases.Update(last); err != nil {
			return fmt.Errorf("close revision %d: %w", last.Version, err)
		}
	}
	if err := s.upgrade(ctx, l); err != nil {
		return err
	}
	now, err := s.cfg.Releases.Last(l.Name)
	if err != nil {
		return err
	}
	return s.sweep(ctx, abandoned(revisions), now)
}

// abandoned gives the revisions after the last one that was deployed.
func abandoned(revisions []*release.Release) []*release.Release {
	for i := len(revisions) - 1; i >= 0; i-- {
		if st := revisions[i].Info.Status; st == release.StatusDeployed || st == release.StatusSuperseded {
			return revisions[i+1:]
		}
	}
	return revisions
}

// pause is the time between two looks at the cluster.
func pause(ctx context.Context) error {
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
