package messaging

import (
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/wire"
)

// listOf gives the answer to a request for a user's conversations.
func (s *messaging) listOf(user, query string) (any, error) {
	read, err := s.list(httptest.NewRequest("GET", "/api/conversations?"+query, nil), user)
	if err != nil {
		return nil, err
	}
	return read()
}

// Pages have each conversation once, whatever is said between them. A conversation costs three reads once its roster is known.
func TestList(t *testing.T) {
	d, reads := openCountedDatabase(t)
	s := &messaging{database: d}
	ann, ben := wire.NewID(), wire.NewID()
	now := time.Now()
	var want []string // last active first
	stories := map[string]*story{}
	for n := range 45 {
		g := d.group(t, now.Add(-time.Hour), ann, ben)
		g.text(now.Add(-time.Duration(n)*time.Second), ben, "hello")
		stories[g.c.id] = g
		want = append(want, g.c.id)
	}
	left := d.group(t, now, ann, ben)
	left.say(wire.Record{Type: wire.RecordGroup, Sender: ann, At: wire.At(now), Event: &wire.GroupEvent{Type: wire.MemberLeft, Users: []string{ann}, Owner: ben}})
	require.NoError(t, d.putInbox(t.Context(), joining{user: ann, conversation: wire.NewGroupID()})) // in which nothing was said yet
	page := func(query url.Values) (ids []string, next string) {
		t.Helper()
		v, err := s.listOf(ann, query.Encode())
		require.NoError(t, err)
		for _, c := range v.(listed).Conversations {
			ids = append(ids, c.ID)
		}
		return ids, v.(listed).Next
	}
	all, next := page(nil)
	require.Equal(t, want, all)
	require.Empty(t, next)
	reads.Store(0)
	page(nil)
	require.EqualValues(t, 1+3*len(want)+2+3, reads.Load(), "the inbox; of each conversation its head, whether there is more, and the last message; of one that was left no message; of one that is not there its roster")

	var paged []string
	query := url.Values{"limit": {"10"}}
	for {
		ids, next := page(query)
		require.LessOrEqual(t, len(ids), 10)
		paged = append(paged, ids...)
		if next == "" {
			break
		}
		query.Set("cursor", next)
		for _, id := range []string{want[len(want)-1], paged[0], paged[len(paged)-1]} {
			stories[id].text(now.Add(time.Minute), ben, "news")
		}
	}
	slices.Sort(paged)
	slices.Sort(want)
	require.Equal(t, want, paged)

	for _, bad := range []string{"limit=0", "limit=501", "limit=x", "cursor=", "cursor=x"} {
		_, err := s.listOf(ann, bad)
		require.Error(t, err, bad)
	}
}

// Members are most of what a large group costs, so a page has as many as fit.
func TestListOfLargeGroups(t *testing.T) {
	d, _ := openCountedDatabase(t)
	s := &messaging{database: d}
	ann := wire.NewID()
	crowd := []member{{User: ann, Role: wire.Owner, First: 1}}
	for range wire.MaxMembers - 1 {
		crowd = append(crowd, member{User: wire.NewID(), Role: wire.RoleMember, First: 1})
	}
	for range 70 {
		g := d.group(t, time.Now(), ann)
		d.known.keep((&roster{ID: g.c.id, Seq: 1, Members: crowd}).settle())
	}
	v, err := s.listOf(ann, "")
	require.NoError(t, err)
	first := v.(listed)
	require.Len(t, first.Conversations, 60, "the first steps with 50,000 members")
	v, err = s.listOf(ann, "cursor="+first.Next)
	require.NoError(t, err)
	require.Len(t, v.(listed).Conversations, 10)
	require.Empty(t, v.(listed).Next)
}
