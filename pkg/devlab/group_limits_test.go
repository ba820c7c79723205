package devlab

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/groups"
)

// Nobody changes groups without end: neither one user, nor all of a group together. Those who moderate it are counted apart.
func TestChangesOfGroupsAreLimited(t *testing.T) {
	w := newWorld(t, "groups")
	var mu sync.Mutex
	now := time.Now()
	later := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	w.startGroups(func(c *groups.Config) {
		c.Changes.PerSecond, c.Changes.Burst = 0.1, 10
		c.GroupChanges.PerSecond, c.GroupChanges.Burst = 0.1, 15
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	ctx := t.Context()
	owner, admin, ben, cal, dan := w.user("owner"), w.user("admin"), w.user("ben"), w.user("cal"), w.user("dan")
	busy := func(err error, text string, after time.Duration) {
		t.Helper()
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 429, e.Status, err)
		require.Equal(t, "busy", e.Code)
		require.Contains(t, e.Message, text)
		require.Equal(t, after, e.RetryAfter)
	}
	g, err := owner.CreatePublicGroup(ctx, "Swing door", admin.User.ID, cal.User.ID) // 1 change of the owner's
	require.NoError(t, err)
	_, err = owner.SetGroupRole(ctx, g.ID, admin.User.ID, "admin")
	require.NoError(t, err)
	for range 4 {
		_, err = owner.AddMember(ctx, g.ID, ben.User.ID)
		require.NoError(t, err)
		_, err = owner.AddMember(ctx, g.ID, ben.User.ID)
		require.NoError(t, err, "what changes nothing does not count")
		_, err = owner.RemoveMember(ctx, g.ID, ben.User.ID)
		require.NoError(t, err)
	}
	const often, all = "you have changed groups too often", "this group has been changed too often"
	_, err = owner.AddMember(ctx, g.ID, ben.User.ID)
	busy(err, often, 10*time.Second)
	_, err = owner.RenameGroup(ctx, g.ID, "New")
	busy(err, often, 10*time.Second)
	_, err = owner.CreateGroup(ctx, "Another", ben.User.ID)
	busy(err, often, 10*time.Second)
	busy(owner.LeaveGroup(ctx, g.ID), often, 10*time.Second)
	then, err := owner.Group(ctx, g.ID)
	require.NoError(t, err)
	require.Len(t, then.Members, 3, "what was refused has changed nothing")

	// 9 changes of this group by those who moderate it were before, of which none of those that were refused counts.
	for i := range 6 {
		_, err = admin.RenameGroup(ctx, g.ID, fmt.Sprint("Door ", i))
		require.NoError(t, err)
	}
	_, err = admin.RenameGroup(ctx, g.ID, "Gate")
	busy(err, all, 10*time.Second)
	another, err := admin.CreateGroup(ctx, "Of the admin")
	require.NoError(t, err, "it is that group that is changed too often")
	_, err = admin.AddMember(ctx, another.ID, ben.User.ID)
	require.NoError(t, err)
	for range 5 {
		_, err = dan.JoinGroup(ctx, g.ID)
		require.NoError(t, err, "others are counted apart")
		require.NoError(t, dan.LeaveGroup(ctx, g.ID))
	}
	_, err = dan.JoinGroup(ctx, g.ID)
	busy(err, often, 10*time.Second)

	later(10 * time.Second)
	_, err = owner.AddMember(ctx, g.ID, ben.User.ID)
	require.NoError(t, err)

	// Each ten members of a new group count.
	later(100 * time.Second)
	var many []string
	for range 30 {
		many = append(many, uuid.NewString())
	}
	for range 2 {
		_, err = owner.CreateGroup(ctx, "Lecture", many...)
		require.True(t, client.IsCode(err, "unknown_user"), err)
	}
	_, err = owner.CreateGroup(ctx, "Lecture", many...)
	busy(err, often, 20*time.Second)
	require.NoError(t, ben.LeaveGroup(ctx, g.ID))
}
