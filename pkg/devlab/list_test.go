package devlab

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
)

// A user with more conversations than one answer has finds all of them, in order.
func TestConversationsInPages(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a := w.device(alice)
	var want []string
	for range 5 {
		g, err := alice.CreateGroup(ctx, "Lab", bob.User.ID)
		require.NoError(t, err)
		a.has(g.ID, 1)
		want = append([]string{g.ID}, want...)
	}
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a.send(dm, "last")
	want = append([]string{dm}, want...)
	w.stored()
	// Groups that alice was in once stay in her inbox.
	left := bson.M{}
	for range 600 {
		left["conversations.g:"+uuid.NewString()] = true
	}
	res, err := w.database("messaging").Collection("inboxes").UpdateOne(ctx, bson.M{"_id": alice.User.ID}, bson.M{"$set": left})
	require.NoError(t, err)
	require.EqualValues(t, 1, res.MatchedCount)

	var first struct {
		Conversations []client.Conversation
		Next          string
	}
	bearer, err := alice.AccessToken(ctx)
	require.NoError(t, err)
	status, body := call(t, "GET", w.url+"/api/conversations", bearer, "")
	require.Equal(t, 200, status, body)
	require.NoError(t, json.Unmarshal([]byte(body), &first))
	require.NotEmpty(t, first.Next)

	list, err := alice.Conversations(ctx)
	require.NoError(t, err)
	var got []string
	for _, c := range list {
		got = append(got, c.ID)
	}
	require.Equal(t, want, got)
}
