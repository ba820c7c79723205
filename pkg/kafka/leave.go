package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A consumer that dies while it waits for the answer to its JoinGroup would stay in its group: kfake begins to watch a member's heartbeats when it
// has answered, and forgets to where it cannot. The group gives that member partitions, which nobody reads until something else makes
// the group rebalance, and then waits for the member for the whole of the rebalance timeout (a minute). So kfake does not hear that such a client is
// gone, but gets in its place the request to leave, which it takes up when it has answered the one to join. Who is not dead, and only lost the
// connection, is told when they ask again, and joins anew.

const joinKey = int16(kmsg.JoinGroup)

// joining is a member that waits to join a group.
type joining struct {
	group, member string
}

// joins reads a JoinGroup from behind its key; nil if it is not one of a member that has its id. Kafka gives the id in an answer that comes at once,
// and who has not come back with it within the session timeout is forgotten.
func joins(body []byte) *joining {
	req := kmsg.NewJoinGroupRequest()
	if !read(body, &req) || req.MemberID == "" {
		return nil
	}
	return &joining{group: req.Group, member: req.MemberID}
}

// leaves gives the requests by which those leave who wait to join. Nothing comes from the client any more; within a request nothing can be said.
func (r *requests) leaves() (all []byte) {
	if len(r.head) > 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.answers {
		if a.joins == nil {
			continue
		}
		req := kmsg.NewLeaveGroupRequest()
		req.Version = 2 // the last with one member, which is what there is to say
		req.Group, req.MemberID = a.joins.group, a.joins.member
		all = kmsg.NewRequestFormatter().AppendRequest(all, &req, 0)
	}
	return all
}
