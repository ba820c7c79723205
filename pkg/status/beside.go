package status

import (
	"context"
	"slices"
	"time"
)

// besideEvery is how often what a lab may be up without is asked for.
const besideEvery = 5 * time.Second

// FollowApplications follows those of Argo CD.
func FollowApplications(ask func(context.Context) ([]Application, error)) Follower {
	return beside("applications", ask, func(s *Snapshot) *[]Application { return &s.Applications })
}

// FollowServices follows what the lab's services do.
func FollowServices(ask func(context.Context) ([]Service, error)) Follower {
	return beside("services", ask, func(s *Snapshot) *[]Service { return &s.Services })
}

// FollowGroups follows how far Kafka's consumer groups are behind.
func FollowGroups(ask func(context.Context) ([]Group, error)) Follower {
	remembers := lags{}
	return beside("kafka", func(ctx context.Context) ([]Group, error) {
		all, err := ask(ctx)
		if err == nil {
			remembers.add(all)
		}
		return all, err
	}, func(s *Snapshot) *[]Group { return &s.Groups })
}

// FollowShadows follows the versions that are tried.
func FollowShadows(ask func(context.Context) ([]Shadow, error)) Follower {
	return beside("shadows", ask, func(s *Snapshot) *[]Shadow { return &s.Shadows })
}

// lags are those of groups at the last looks.
type lags map[string][]float64

func (l lags) add(groups []Group) {
	for i := range groups {
		g := &groups[i]
		l[g.Name] = remember(l[g.Name], float64(g.Lag))
		g.History = l[g.Name]
	}
}

// conditioned is a part that is known by a name.
type conditioned interface {
	key() string
	condition() *Condition
}

func (a *Application) key() string           { return a.Name }
func (a *Application) condition() *Condition { return &a.Condition }
func (v *Service) key() string               { return v.Namespace + "/" + v.Name }
func (v *Service) condition() *Condition     { return &v.Condition }
func (g *Group) key() string                 { return g.Name }
func (g *Group) condition() *Condition       { return &g.Condition }
func (w *Shadow) key() string                { return w.Service }
func (w *Shadow) condition() *Condition      { return &w.Condition }

// beside follows parts that are asked for again and again. While nobody answers they stay as they were seen last, as unknown.
func beside[T any, P interface {
	*T
	conditioned
}](name string, ask func(context.Context) ([]T, error), in func(*Snapshot) *[]T) Follower {
	f := poll(name, besideEvery, func(ctx context.Context) (func(*Snapshot), error) {
		ctx, cancel := context.WithTimeout(ctx, besideEvery)
		defer cancel()
		all, err := within(ctx, func() ([]T, error) { return ask(ctx) })
		if err != nil {
			return nil, err
		}
		return func(s *Snapshot) {
			before := map[string]Condition{}
			for _, old := range *in(s) {
				before[P(&old).key()] = *P(&old).condition()
			}
			for i := range all {
				c := P(&all[i]).condition()
				old, seen := before[P(&all[i]).key()]
				switch {
				case !seen: // since when it is so, nobody says
				case old.State == c.State:
					c.Since = old.Since
				default:
					c.Since = s.At
				}
			}
			*in(s) = all
		}, nil
	})
	follow := f.Follow
	f.Beside = true
	f.Follow = func(ctx context.Context, update Update) error {
		err := follow(ctx, update)
		if ctx.Err() == nil {
			update(func(s *Snapshot) {
				last := slices.Clone(*in(s))
				for i := range last {
					P(&last[i]).condition().become(s.At, Unknown, brief(err))
				}
				*in(s) = last
			})
		}
		return err
	}
	return f
}
