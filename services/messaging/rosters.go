package messaging

import "sync"

// rosters keep the rosters of groups that were read. What a roster is after an event follows from the log up to there and never changes, so there is
// nothing to invalidate: whoever has read the end of a conversation knows its last event, and takes the roster of that event or none.
// A roster is most of what it costs to read a conversation.
type rosters struct {
	mu      sync.Mutex
	last    map[string]*roster // by group, the latest one
	members int                // of all
}

// maxKeptMembers bounds the memory that rosters take, to some 20 MB.
const maxKeptMembers = 100_000

// at gives the roster of a group after the event with that seq, nil if it is not here.
func (k *rosters) at(id string, event int64) *roster {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.last[id]; r != nil && r.Seq == event {
		return r
	}
	return nil
}

// keep keeps a roster, which nobody may change any more, in the place of others.
func (k *rosters) keep(r *roster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.last[r.ID]; old != nil {
		if old.Seq >= r.Seq {
			return
		}
		k.forget(old)
	}
	for _, old := range k.last { // any: the order of a map is none
		if k.members+len(r.Members) <= maxKeptMembers {
			break
		}
		k.forget(old)
	}
	if k.last == nil {
		k.last = map[string]*roster{}
	}
	k.last[r.ID] = r
	k.members += len(r.Members)
}

// forget makes room. The caller holds mu.
func (k *rosters) forget(r *roster) {
	delete(k.last, r.ID)
	k.members -= len(r.Members)
}
