package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/devlab"
)

// Kind is a kind of fault.
type Kind string

// The faults that are done to the chat.
const (
	Kill  Kind = "kill"  // kill -9 at any moment, started again after a while
	Step  Kind = "step"  // kill -9 at a step of the part's work: before a request of it is passed on, or before it hears that it was done
	Pause Kind = "pause" // SIGSTOP for longer than the consumer group's session, then SIGCONT
	Cut   Kind = "cut"   // no network between a part and the broker, or the database, or between the clients and the chat
	Slow  Kind = "slow"  // each message on that way is late
)

// The faults that clients make.
const (
	Storm Kind = "storm" // all devices lose their sockets at once
	Retry Kind = "retry" // what was sent is sent again, by another device of the sender
	Deaf  Kind = "deaf"  // a client that does not read
)

// Kinds are all of them.
func Kinds() []Kind { return append(serverKinds(), clientKinds()...) }

// Possible are the kinds that can be done to a lab, and by clients. lab may be nil: then it is those of clients alone.
func Possible(lab Lab) []Kind {
	if lab == nil {
		return clientKinds()
	}
	return append(lab.Kinds(), clientKinds()...)
}

func serverKinds() []Kind { return []Kind{Kill, Step, Pause, Cut, Slow} }
func clientKinds() []Kind { return []Kind{Storm, Retry, Deaf} }

// Clients is the part whose network is the clients'.
const Clients = "clients"

// Fault is one thing that goes wrong.
type Fault struct {
	At   time.Duration `json:"at"`
	Kind Kind          `json:"kind"`
	Part string        `json:"part,omitempty"`
	To   string        `json:"to,omitempty"`   // Cut and Slow: kafka or mongodb
	Time time.Duration `json:"time,omitempty"` // how long it lasts
	By   time.Duration `json:"by,omitempty"`   // Slow: how late each message is
	// Step strikes at the After-th request of the part to To, once it was done if Done.
	After int  `json:"after,omitempty"`
	Done  bool `json:"done,omitempty"`
}

func (f Fault) String() string {
	s := string(f.Kind)
	if f.Part != "" {
		s += " " + f.Part
	}
	if f.To != "" {
		s += " to " + f.To
	}
	switch f.Kind {
	case Step:
		when := "before"
		if f.Done {
			when = "after"
		}
		s += fmt.Sprintf(" %s request %d", when, f.After)
	case Slow:
		s += " by " + f.By.String()
	}
	if f.Time > 0 {
		s += " for " + f.Time.String()
	}
	return s
}

// Schedule makes the faults of a seed: about one each Every, so that some meet. Each kind that can be comes, each part in turn, in an
// order of the seed's.
func Schedule(seed uint64, parts []string, kinds []Kind, duration, every time.Duration) []Fault {
	rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a seed that is to be repeated
	between := func(low, high time.Duration) time.Duration {
		return (low + time.Duration(rng.Int64N(int64(high-low)))).Round(time.Millisecond)
	}
	var services []string
	for _, p := range parts {
		if strings.Contains(p, "/") {
			services = append(services, p)
		}
	}
	// in turn gives all of a list in a random order before any comes twice.
	turns := map[string][]string{}
	turn := func(what string, of []string) string {
		if len(turns[what]) == 0 {
			for _, i := range rng.Perm(len(of)) {
				turns[what] = append(turns[what], of[i])
			}
		}
		next := turns[what][0]
		turns[what] = turns[what][1:]
		return next
	}
	var names []string
	for _, k := range kinds {
		if len(services) > 0 || slices.Contains(clientKinds(), k) {
			names = append(names, string(k))
		}
	}
	var all []Fault
	if len(names) == 0 {
		return nil
	}
	for at := between(every/4, every); at < duration; at += between(every/2, every+every/2) {
		f := Fault{At: at, Kind: Kind(turn("kind", names))}
		switch f.Kind {
		case Kill:
			f.Part, f.Time = turn("kill", parts), between(50*time.Millisecond, 2*time.Second)
		case Step:
			f.Part, f.To, f.Time = turn("step", services), turn("step to", []string{devlab.Broker, devlab.Database}), between(50*time.Millisecond, time.Second)
			f.After, f.Done = 1+rng.IntN(8), rng.IntN(2) == 1
		case Pause:
			f.Part, f.Time = turn("pause", services), between(7500*time.Millisecond, 9*time.Second)
		case Cut, Slow:
			f.Part, f.Time = turn(string(f.Kind), append(slices.Clone(services), Clients)), between(500*time.Millisecond, 4*time.Second)
			if f.Part != Clients {
				f.To = turn("to", []string{devlab.Broker, devlab.Database})
			}
			if f.Kind == Slow {
				f.By = between(20*time.Millisecond, 200*time.Millisecond)
			}
		case Deaf:
			f.Time = between(3*time.Second, 6*time.Second)
		}
		all = append(all, f)
	}
	return all
}

// Kinds are the faults that can be done to processes: all.
func (p *Processes) Kinds() []Kind { return serverKinds() }

// Strike does a fault and undoes it, and says what it met.
func (p *Processes) Strike(ctx context.Context, f Fault) (met string, err error) {
	if f.Part == Clients {
		return "", p.network(ctx, f, p.clients)
	}
	if kill := p.o.Killers[f.Part]; kill != nil && f.Kind == Kill {
		return "", kill(ctx)
	}
	q := p.find(f.Part)
	if q == nil {
		return "", fmt.Errorf("%s: there is no such part", f)
	}
	switch f.Kind {
	case Kill:
		q.kill()
		_ = sleep(ctx, f.Time)
		return "", q.start()
	case Step:
		return p.step(ctx, f, q)
	case Pause:
		if err := q.signal(syscall.SIGSTOP); err != nil {
			return "", err
		}
		_ = sleep(ctx, f.Time)
		return "", q.signal(syscall.SIGCONT)
	case Cut, Slow:
		if q.links[f.To] == nil {
			return "", fmt.Errorf("%s: there is no such way", f)
		}
		return "", p.network(ctx, f, q.links[f.To])
	}
	return "", fmt.Errorf("%s: not a fault of a part", f)
}

func (p *Processes) network(ctx context.Context, f Fault, l *link) error {
	if f.Kind == Slow {
		l.setDelay(f.By)
		defer l.setDelay(0)
	} else {
		l.setCut(true)
		defer l.setCut(false)
	}
	_ = sleep(ctx, f.Time)
	return nil
}

// stepWithin is how long a part may take to come to the step. One that has nothing to do is killed then.
const stepWithin = 3 * time.Second

func (p *Processes) step(ctx context.Context, f Fault, q *process) (met string, err error) {
	struck := make(chan string, 1)
	l := q.links[f.To]
	if l == nil {
		return "", fmt.Errorf("%s: there is no such way", f)
	}
	// The request waits in the link until the process is dead.
	l.arm(&trap{after: f.After, done: f.Done, strike: func(step string) {
		q.shoot()
		struck <- step
	}})
	wait := time.NewTimer(stepWithin)
	defer wait.Stop()
	select {
	case met = <-struck:
	case <-wait.C:
	case <-ctx.Done():
	}
	l.arm(nil)
	q.kill()
	select {
	case met = <-struck: // at the last moment
	default:
	}
	_ = sleep(ctx, f.Time)
	return met, q.start()
}
