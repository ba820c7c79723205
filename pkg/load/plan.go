package load

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Shape says who talks with whom.
type Shape struct {
	kind string // pairs, rooms or zipf
	size int    // members of a room; of the largest one in zipf
}

// MaxRoom is how many members a room may have: what docs/protocol.md allows.
const MaxRoom = 1000

// ParseShape reads "pairs", "rooms:10" or "zipf:100".
func ParseShape(s string) (Shape, error) {
	kind, size, sized := strings.Cut(s, ":")
	if kind == "pairs" && !sized {
		return Shape{kind: kind, size: 2}, nil
	}
	n, err := strconv.Atoi(size)
	if (kind != "rooms" && kind != "zipf") || err != nil || n < 2 || n > MaxRoom {
		return Shape{}, fmt.Errorf("rooms %q are none of pairs, rooms:N and zipf:N, with N from 2 to %d", s, MaxRoom)
	}
	return Shape{kind: kind, size: n}, nil
}

func (s Shape) String() string {
	if s.kind == "pairs" {
		return s.kind
	}
	return s.kind + ":" + strconv.Itoa(s.size)
}

// room is a conversation by the numbers of its members. The first one makes it.
type room struct{ members []int }

// rooms divides the users. In pairs and rooms each user has one conversation, and a rest of one joins the last. In zipf the r-th
// room has size/r members, drawn from all users, down to pairs; so some are in many rooms and the large rooms are few.
func (s Shape) rooms(users int, rng *rand.Rand) []room {
	var all []room
	if s.kind == "zipf" {
		for r := 1; ; r++ {
			n := min(s.size/r, users)
			if n < 2 || r > users {
				return all
			}
			all = append(all, room{members: rng.Perm(users)[:n]})
		}
	}
	order := rng.Perm(users)
	for chunk := range slices.Chunk(order, s.size) {
		if len(chunk) == 1 && len(all) > 0 && s.kind == "rooms" && s.size < MaxRoom {
			last := &all[len(all)-1]
			last.members = append(slices.Clip(last.members), chunk...)
		} else if len(chunk) > 1 {
			all = append(all, room{members: chunk})
		}
	}
	return all
}

// weights are how often each room is talked in: all the same, but by rank in zipf.
func (s Shape) weights(rooms int) []float64 {
	sum, total := make([]float64, rooms), 0.0
	for i := range sum {
		w := 1.0
		if s.kind == "zipf" {
			w /= float64(i + 1)
		}
		total += w
		sum[i] = total
	}
	return sum
}

// arrival is one thing that somebody is to do.
type arrival struct {
	at     time.Duration // from the beginning
	room   int
	sender int // among the room's members
	device int
	kind   Kind
	target int // the arrival that a reply, an edit or a reaction is about
}

// arrivals decides by the seed alone what is sent when: a Poisson process of that rate, as of many who do not know of each other. It
// does not depend on answers, so a server that stands still is measured with all that should have been sent meanwhile.
func arrivals(rng *rand.Rand, s Shape, mix Mix, rooms []room, devices int, rate float64, duration time.Duration) []arrival {
	sums := s.weights(len(rooms))
	var all []arrival
	for t := 0.0; ; {
		t += -math.Log(1-rng.Float64()) / rate
		at := time.Duration(t * float64(time.Second))
		if at >= duration {
			point(all)
			return all
		}
		x := rng.Float64() * sums[len(sums)-1]
		r, _ := slices.BinarySearch(sums, x)
		r = min(r, len(rooms)-1)
		all = append(all, arrival{at: at, room: r, sender: rng.IntN(len(rooms[r].members)), device: rng.IntN(devices), kind: mix.Draw(rng)})
	}
}

// The limits of a run. Beyond them it would be the generator that is measured.
const (
	maxUsers    = 100_000
	maxDevices  = 1000
	maxMessages = 5_000_000
)

func (o Options) check() error {
	var errs []error
	wrong := func(bad bool, format string, a ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	wrong(o.Users < 2 || o.Users > maxUsers, "%d users: 2 to %d can be had", o.Users, maxUsers)
	wrong(o.Devices < 1 || o.Devices > maxDevices, "%d devices a user: 1 to %d can be had", o.Devices, maxDevices)
	wrong(o.Rate < 0 || math.IsNaN(o.Rate) || math.IsInf(o.Rate, 0), "a rate of %v: it is messages a second", o.Rate)
	wrong(o.Duration <= 0, "a duration of %s: it must be above 0", o.Duration)
	wrong(o.Rate*o.Duration.Seconds() > maxMessages, "%.0f messages: at most %d in one run", o.Rate*o.Duration.Seconds(), maxMessages)
	wrong(o.Shape.kind == "", "no rooms")
	wrong(len(o.Key) < 16, "no key for the users' passwords")
	return errors.Join(errs...)
}
