package messaging

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/mongodb" //nolint:depguard // the embedded database, for tests alone
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// startTestDatabase starts one of the test's own, and gives its address.
func startTestDatabase(t *testing.T) string {
	t.Helper()
	srv, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv.URI()
}

func newTestDatabase(t *testing.T) *database {
	t.Helper()
	return openTestDatabase(t, nil)
}

func openTestDatabase(t *testing.T, monitor *event.CommandMonitor) *database {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(startTestDatabase(t)).SetMonitor(monitor).SetBSONOptions(&options.BSONOptions{DefaultDocumentM: true}))
	require.NoError(t, err)
	db := &store.DB{Database: c.Database("messaging")}
	t.Cleanup(db.Close)
	require.NoError(t, db.Migrate(t.Context(), migrations()))
	return newDatabase(db)
}

func text(seq int64, body string) message {
	return message{ID: messageID("room", seq), Conversation: "room", Seq: seq, Kind: wire.Text, Sender: "ann", Body: body, Texts: seq}
}
