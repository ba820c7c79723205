package presence

import (
	"maps"
	"time"

	"github.com/labctl/labctl/services/internal/wire"
)

// user is what is known of one user.
//
// The state is a fold over the user's leases in their order, by the times in them. So all instances that read the same
// leases come to the same changes, each from the same lease, whenever they look.
type user struct {
	leases  map[string]lease // by gateway
	newest  int64            // the lease that was taken last
	last    time.Time        // the time of the newest lease
	now     time.Time        // the leases have been looked at until then
	is      change           // the last one
	changes []change         // those that others have not been told yet
	known   bool             // said is what the database says
	said    status
}

// change is another state of a user.
type change struct {
	state  string
	source int64     // the lease from which it follows
	seen   time.Time // the time of the newest lease until then
}

// lease is what one gateway's word amounts to. Leases are named by their offsets in the partition.
type lease struct {
	at time.Time
	// until is how long the user is at least away for it, active how long online.
	until, active limit
	sessions      map[string]bool // the devices that it has, and whether nobody is at them
	good          time.Time       // how long it has them
}

// limit is when something ends, and the lease that says so.
type limit struct {
	at     time.Time
	source int64
}

// newUser makes the user of a first lease. As long as nothing says otherwise, they are offline.
func newUser(l wire.Lease, source int64) *user {
	return &user{leases: map[string]lease{}, is: change{wire.StateOffline, source, l.At.Time}}
}

// take takes a lease in. A user goes up at once, and down (from online to away, from either to offline) only when grace
// has passed without another word: so neither a reload nor a tab that is left for a moment flickers.
func (u *user) take(l wire.Lease, source int64, ttl, grace time.Duration) {
	was, at := u.leases[l.Gateway], l.At.Time
	if at.Before(was.at) {
		return
	}
	u.pass(at)
	u.newest, u.last = source, later(u.last, at)
	soon := limit{at.Add(grace), source}
	n := lease{at: at, until: was.until.orEarlier(soon), active: was.active.orEarlier(soon)}
	if l.Devices > 0 {
		n.until, n.good, n.sessions = limit{at.Add(ttl), source}, at.Add(ttl), l.Sessions
	}
	if l.Devices > l.Away {
		n.active = limit{at.Add(ttl), source}
	}
	u.leases[l.Gateway] = n
	state, _ := u.fold()
	u.become(state, source)
}

// pass lets time pass. Leases end, and the state goes down with them, step by step.
func (u *user) pass(to time.Time) {
	if active, _ := u.limits(); active.at.Before(to) {
		u.passAtOnce(active.at)
	}
	u.passAtOnce(to)
}

func (u *user) passAtOnce(to time.Time) {
	u.now = later(u.now, to)
	state, ended := u.fold()
	u.become(state, ended)
	maps.DeleteFunc(u.leases, func(_ string, l lease) bool { return !l.until.at.After(u.now) })
}

// limits gives how long the user is online, and how long at least away, without another word.
func (u *user) limits() (active, until limit) {
	for _, l := range u.leases {
		active, until = active.orLater(l.active), until.orLater(l.until)
	}
	return active, until
}

// fold gives the state, and the lease whose end keeps it from a higher one.
func (u *user) fold() (state string, ended int64) {
	active, until := u.limits()
	switch {
	case active.at.After(u.now):
		return wire.StateOnline, active.source
	case until.at.After(u.now):
		return wire.StateAway, active.source
	}
	return wire.StateOffline, until.source
}

// become notes the state if it is another.
func (u *user) become(state string, source int64) {
	if state != u.is.state {
		u.is = change{state, source, u.last}
		u.changes = append(u.changes, u.is)
	}
}

// open gives the first lease from which something may follow yet, or next if there is none.
func (u *user) open(next int64) int64 {
	if !u.known {
		return 0
	}
	for _, c := range u.changes {
		next = min(next, c.source)
	}
	for _, l := range u.leases {
		for _, end := range []limit{l.active, l.until} {
			if end.at.After(u.now) {
				next = min(next, end.source)
			}
		}
	}
	return next
}

// status gives what is so.
func (u *user) status(id string) status {
	active, until := u.limits()
	is := status{ID: id, State: u.is.state, Active: active.at, Until: until.at, Seen: u.last, Devices: map[string]string{}}
	for _, l := range u.leases {
		if !l.good.After(u.now) {
			continue
		}
		for session, away := range l.sessions {
			if !away {
				is.Devices[session] = wire.StateOnline
			} else if is.Devices[session] == "" {
				is.Devices[session] = wire.StateAway
			}
		}
	}
	return is
}

// isOver says that nothing is left to remember.
func (u *user) isOver() bool {
	return u.known && len(u.changes) == 0 && len(u.leases) == 0 && u.said.State == wire.StateOffline
}

// status is what is said of a user.
type status struct {
	ID      string            `bson:"_id"`
	State   string            `bson:"state"`  // what others were told last
	Active  time.Time         `bson:"active"` // online is good until then,
	Until   time.Time         `bson:"until"`  // and away until then, without another word
	Seen    time.Time         `bson:"seen"`
	Devices map[string]string `bson:"devices"` // connected sessions and their states, for the user's own eyes
	Source  string            `bson:"source"`  // the record of the last lease from which this follows: topic/partition/offset
}

// at gives the state at a time.
func (s status) at(now time.Time) string {
	switch {
	case s.Active.After(now):
		return wire.StateOnline
	case s.Until.After(now):
		return wire.StateAway
	}
	return wire.StateOffline
}

// differs says whether others have been told something else than is, by a frame or by asking now.
func (s status) differs(is status, now time.Time) bool {
	return s.State != is.State || s.at(now) != is.State
}

// stale says whether is has to be written though nobody need be told: the devices are others, or what is written ends within soon.
func (s status) stale(is status, now time.Time, soon time.Duration) bool {
	ends := func(said, is time.Time) bool { return !said.Equal(is) && said.Sub(now) <= soon }
	return !maps.Equal(s.Devices, is.Devices) ||
		(is.State == wire.StateOnline && ends(s.Active, is.Active)) || (is.State != wire.StateOffline && ends(s.Until, is.Until))
}

func (l limit) orEarlier(other limit) limit {
	if other.at.Before(l.at) {
		return other
	}
	return l
}

// orLater gives the later of two limits. At the same time, the later lease's counts.
func (l limit) orLater(other limit) limit {
	if other.at.After(l.at) || (other.at.Equal(l.at) && other.source > l.source) {
		return other
	}
	return l
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
