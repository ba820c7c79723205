package incluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// Promotion is a version that took the place of another. The last one of a service is kept in the cluster.
type Promotion struct {
	From   string    `json:"from"` // the image before
	To     string    `json:"to"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"` // why it was promoted without a pass
	Undone string    `json:"undone,omitempty"` // why it was rolled back
	// ErrorShares are the shares of requests and records that the version before could not handle, by kind.
	ErrorShares map[string]float64 `json:"errorShares,omitempty"`
	Evidence    shadow.Evidence    `json:"evidence"`
}

var (
	// ErrNoPass says that the verdict is no pass.
	ErrNoPass = errors.New("the verdict is no pass")
	// ErrNoPromotion says that no version of the service was promoted, or that it was rolled back.
	ErrNoPromotion = errors.New("there is no promotion to undo")
)

// Rollout has the live service run an image, and waits until it does.
type Rollout func(ctx context.Context, image string) error

// Promote gives the candidate the place of the live version: it keeps the evidence, rolls the service out, watches it for
// a while, and removes the shadow. Where the service does not do well within that time, the version before comes back.
// Without a pass a reason is needed. Where it was ended half-way, it goes on when it is called again.
func (s Shadow) Promote(ctx context.Context, by, reason string, watch time.Duration, roll Rollout, report event.Report) (p Promotion, err error) {
	r, err := s.read(ctx)
	if err != nil {
		return p, err
	}
	live, err := s.live(ctx)
	if err != nil {
		return p, err
	}
	if p, err = s.Last(ctx); err != nil && !errors.Is(err, ErrNoPromotion) {
		return p, err
	}
	if err != nil || p.Undone != "" || !p.Evidence.Started.Equal(r.About.At) { // no other run came so far with this shadow
		e, err := s.Evidence(ctx)
		if err != nil {
			return p, err
		}
		if e.Verdict.State != verdict.Pass && reason == "" {
			return p, fmt.Errorf("%w but %s: %s", ErrNoPass, e.Verdict.State, e.Verdict.Why)
		}
		from := s.imageOf(live.Deployment.Spec.Template.Spec)
		pods, err := s.pods(ctx, &live.Deployment)
		if err != nil {
			return p, err
		}
		before, err := s.counted(ctx, pods)
		if err != nil {
			return p, err
		}
		p = Promotion{From: from, To: r.Candidate, By: by, At: time.Now(), Reason: reason, ErrorShares: before.shares(), Evidence: e}
		if err := s.keep(ctx, p); err != nil {
			return p, err
		}
	}
	report.Doing("rolling out %s", r.About.Version)
	if err := roll(ctx, p.To); err != nil {
		return p, s.undo(ctx, p, err, roll, report)
	}
	report.Doing("watching %s for %s", s.Service, watch)
	if err := s.watch(ctx, watch, p.ErrorShares); err != nil {
		return p, s.undo(ctx, p, err, roll, report)
	}
	return p, s.Abort(ctx, report)
}

// undo brings the version before back, and gives why. An end by the user undoes nothing: the next Promote goes on.
func (s Shadow) undo(ctx context.Context, p Promotion, why error, roll Rollout, report event.Report) error {
	if ctx.Err() != nil {
		return why
	}
	report.Doing("rolling back to %s", p.From)
	if err := roll(ctx, p.From); err != nil {
		return fmt.Errorf("%w; and the version before does not come back: %w", why, err)
	}
	p.Undone = why.Error()
	if err := s.keep(ctx, p); err != nil {
		return errors.Join(why, err)
	}
	return fmt.Errorf("it was rolled back: %w", why)
}

// Rollback brings the version before the last promotion back.
func (s Shadow) Rollback(ctx context.Context, reason string, roll Rollout) (p Promotion, err error) {
	if p, err = s.Last(ctx); err != nil {
		return p, err
	}
	if p.Undone != "" {
		return p, fmt.Errorf("%w: it was undone (%s)", ErrNoPromotion, p.Undone)
	}
	if err := roll(ctx, p.From); err != nil {
		return p, err
	}
	p.Undone = reason
	return p, s.keep(ctx, p)
}

func (s Shadow) promotionName() string { return "promotion-of-" + s.Service }

const promotionKey = "promotion.json"

// keep writes a promotion to the cluster, without examples of results: they have what people said, who may want it
// deleted (docs/adr/0024-deleting-accounts.md).
func (s Shadow) keep(ctx context.Context, p Promotion) error {
	if p.Evidence.Differing != nil {
		p.Evidence.Differing = p.Evidence.Differing.WithoutExamples()
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: s.promotionName(), Namespace: s.Namespace, Labels: s.Owner.Labels()},
		Data:       map[string]string{promotionKey: string(b)},
	}
	maps := s.Client.Core.CoreV1().ConfigMaps(s.Namespace)
	_, err = maps.Update(ctx, m, metav1.UpdateOptions{FieldManager: kube.FieldOwner})
	if apierrors.IsNotFound(err) {
		_, err = maps.Create(ctx, m, metav1.CreateOptions{FieldManager: kube.FieldOwner})
	}
	if err != nil {
		return fmt.Errorf("keep the evidence of the promotion of %s: %w", s.Service, err)
	}
	return nil
}

// Last gives the last promotion of the service.
func (s Shadow) Last(ctx context.Context) (p Promotion, err error) {
	m, err := s.Client.Core.CoreV1().ConfigMaps(s.Namespace).Get(ctx, s.promotionName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return p, fmt.Errorf("%w of %s", ErrNoPromotion, s.Service)
	}
	if err != nil {
		return p, fmt.Errorf("look for the last promotion of %s: %w", s.Service, err)
	}
	if err := json.Unmarshal([]byte(m.Data[promotionKey]), &p); err != nil {
		return p, fmt.Errorf("read the config map %s: %w", s.promotionName(), err)
	}
	return p, nil
}

func (s Shadow) imageOf(spec corev1.PodSpec) string {
	for _, c := range spec.Containers {
		if c.Name == s.Service || len(spec.Containers) == 1 {
			return c.Image
		}
	}
	return ""
}
