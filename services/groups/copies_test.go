package groups

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/pkg/mongodb" //nolint:depguard // the embedded database, for tests alone
	"github.com/labctl/labctl/services/internal/store"
)

// Who has read something old and comes late does not write it over what is newer.
func TestRenew(t *testing.T) {
	srv, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	db, err := store.Open(srv.URI(), "groups", "test")
	require.NoError(t, err)
	t.Cleanup(db.Close)
	ctx := t.Context()
	c := db.Collection("public")
	title := func() string {
		n, _, err := store.Get[names](ctx, c, "lab")
		require.NoError(t, err)
		return n.Groups["g"]
	}
	original := "old"
	write := func(names) (bson.D, error) { return put("groups.g", original), nil }
	for _, before := range []string{"", "new"} { // once the document is there not yet
		original = before + "old"
		calls := 0
		require.NoError(t, renew(ctx, c, "lab", func(names) (bson.D, error) {
			read := original
			if calls++; calls == 1 { // the other is quicker
				original = before + "new"
				require.NoError(t, renew(ctx, c, "lab", write))
				require.Equal(t, before+"new", title())
			}
			return put("groups.g", read), nil
		}))
		require.Equal(t, before+"new", title())
		require.Equal(t, 2, calls)
	}

	// The other need not even write: it finds what is right now, and the late one knows only what was.
	read := ""
	require.NoError(t, renew(ctx, c, "lab", func(names) (bson.D, error) {
		if read != "" {
			return nil, nil
		}
		read = "older"
		require.NoError(t, renew(ctx, c, "lab", func(names) (bson.D, error) { return nil, nil }))
		return put("groups.g", read), nil
	}))
	require.Equal(t, "newnew", title())

	broken := errors.New("broken")
	require.ErrorIs(t, renew(ctx, c, "lab", func(names) (bson.D, error) { return nil, broken }), broken)
	tries := 0
	require.ErrorIs(t, renew(ctx, c, "lab", func(names) (bson.D, error) {
		if tries++; tries%2 == 1 {
			require.NoError(t, renew(ctx, c, "lab", write))
			tries++
		}
		return put("groups.g", "x"), nil
	}), errBusy)
	require.NoError(t, renew(ctx, c, "lab", func(names) (bson.D, error) { return drop("groups.g"), nil }))
	require.Empty(t, title())
}
