package presence

import (
	"maps"
	"time"

	"github.com/labctl/labctl/services/internal/wire"
)

// user is what is known of one user.
type user struct {
	leases map[string]lease // by gateway
	last   time.Time        // the time of the newest lease
	source string           // the record of the lease that was taken last: topic/partition/offset
	known  bool             // said is what the database says
	said   status
}

// lease is what one gateway's word amounts to.
type lease struct {
	at time.Time
	// until is how long the user is at least away for it, active how long online.
	until, active time.Time
	sessions      map[string]bool // the devices that it has, and whether nobody is at them
	good          time.Time       // how long it has them
}

// take takes a lease in. A user goes up at once, and down (from online to away, from either to offline) only when grace has passed
// without another word: so neither a reload nor a tab that is left for a moment flickers. All follows from the leases' own
// times, so whoever reads them again comes to the same. source is its record.
func (u *user) take(l wire.Lease, source string, ttl, grace time.Duration) {
	was, at := u.leases[l.Gateway], l.At.Time
	if at.Before(was.at) {
		return
	}
	u.source = source
	if at.After(u.last) {
		u.last = at
	}
	n := lease{at: at, until: earlier(was.until, at.Add(grace)), active: earlier(was.active, at.Add(grace))}
	if l.Devices > 0 {
		n.until, n.good, n.sessions = at.Add(ttl), at.Add(ttl), l.Sessions
	}
	if l.Devices > l.Away {
		n.active = at.Add(ttl)
	}
	u.leases[l.Gateway] = n
}

// status gives what is so, and forgets leases that are over.
func (u *user) status(id string, now time.Time) status {
	is := status{ID: id, Source: u.source, Seen: u.last, Devices: map[string]string{}}
	for gateway, l := range u.leases {
		if !l.until.After(now) {
			delete(u.leases, gateway)
			continue
		}
		is.Until, is.Active = later(is.Until, l.until), later(is.Active, l.active)
		if !l.good.After(now) {
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
	is.State = is.at(now)
	return is
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

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
