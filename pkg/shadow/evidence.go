package shadow

import (
	"time"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/sockets"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// Evidence is all that is known of a shadow: what a verdict rests on.
type Evidence struct {
	Service string    `json:"service"`
	Version string    `json:"version"`
	By      string    `json:"by"`
	Started time.Time `json:"started"`
	Ends    time.Time `json:"ends,omitzero"` // at the latest; zero: with the comparer
	At      time.Time `json:"at"`

	Verdict verdict.Verdict      `json:"verdict"`
	Sides   map[string]SideFacts `json:"sides"`
	// Differing are the results that differ, by their shapes, and Intended how many differ only where they are meant to.
	Differing *compare.Shapes `json:"differing"`
	Intended  int64           `json:"intended"`
	// Nothing is how many records led to nothing on all sides. They are no results.
	Nothing int64 `json:"nothing,omitempty"`
	// Requests is how many of the results are answers to requests, and LeftOut how many requests were not compared, by
	// the reasons of package exchange.
	Requests int64            `json:"requests,omitempty"`
	LeftOut  map[string]int64 `json:"leftOut,omitempty"`
	// Sockets are how many were mirrored, and what of them was not compared; of a gateway's shadow.
	Sockets *sockets.Counts `json:"sockets,omitempty"`

	// Rules say what may differ. The policy is in the verdict.
	Rules compare.Rules `json:"rules"`
	// Ended is why the comparison has come to its end, and Error why it had to stop before.
	Ended string `json:"ended,omitempty"`
	Error string `json:"error,omitempty"`
	// Unsaved is why a comparer that starts again would not know all of this.
	Unsaved string `json:"unsaved,omitempty"`
}

// SideFacts are what is known of a side beside its results.
type SideFacts struct {
	// Lag is how many records the side has not handled yet.
	Lag int64 `json:"lag"`
	// Lost is how many records of its topics were deleted before they were read, and Repeated how many came once more.
	Lost     int64 `json:"lost"`
	Repeated int64 `json:"repeated"`
	// Restarts is how often its process has ended by itself.
	Restarts int    `json:"restarts"`
	Ended    string `json:"ended,omitempty"` // how, the last time
	// Memory is what its process holds, in bytes; 0: not known.
	Memory int64 `json:"memory"`
}
