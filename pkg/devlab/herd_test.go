package devlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
)

// After a break all members of a large group ask at once for what they have missed, which is the same documents and is read together.
func TestAllOfALargeGroupComeBackAtOnce(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	g, err := alice.CreateGroup(ctx, "Lecture hall", bob.User.ID)
	require.NoError(t, err)
	for n := range 60 {
		a.send(g.ID, fmt.Sprint("slide ", n))
	}
	b.has(g.ID, 61)

	w.parts["messaging"].stop()
	members := bson.A{bson.M{"user": alice.User.ID, "role": "owner", "first": int64(1)}}
	ids := make([]string, 300)
	for i := range ids {
		ids[i] = fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		members = append(members, bson.M{"user": ids[i], "role": "member", "first": int64(1)})
	}
	res, err := w.database("messaging").Collection("rosters").UpdateOne(ctx, bson.M{"_id": g.ID}, bson.M{"$set": bson.M{"stays": members, "large": true}})
	require.NoError(t, err)
	require.EqualValues(t, 1, res.MatchedCount)
	w.start("messaging")
	w.ready()

	resume := func(user string) (seqs []int64, err error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.urls["messaging"]+"/internal/resume",
			strings.NewReader(fmt.Sprintf(`{"user":%q,"have":{%q:0}}`, user, g.ID)))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+w.token("gateway", "messaging"))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return nil, errors.New(res.Status)
		}
		var answer struct{ Messages []client.Message }
		err = json.NewDecoder(res.Body).Decode(&answer)
		for _, m := range answer.Messages {
			seqs = append(seqs, m.Seq)
		}
		return seqs, err
	}
	var want []int64
	for seq := range int64(61) {
		want = append(want, seq+1)
	}
	errs, got := make([]error, len(ids)), make([][]int64, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() { got[i], errs[i] = resume(id) })
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	for i := range ids {
		require.Equal(t, want, got[i])
	}
	// Who is not in it has nothing of it.
	none, err := resume(bob.User.ID)
	require.NoError(t, err)
	require.Empty(t, none)
}
