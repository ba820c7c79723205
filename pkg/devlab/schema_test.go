package devlab

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// Each service writes down how far its database is, and keeps its hands off one that a later version has changed.
func TestEachDatabaseHasItsVersion(t *testing.T) {
	w := newWorld(t, "presence")
	version := func(service string) bson.M {
		var doc bson.M
		require.NoError(t, w.database(service).Collection("schema").FindOne(t.Context(), bson.M{"_id": "version"}).Decode(&doc))
		return doc
	}
	for service, n := range map[string]int{"auth": 2, "groups": 1, "messaging": 4} {
		require.EqualValues(t, n, version(service)["version"], service)
	}

	schema := w.database("presence").Collection("schema")
	_, err := schema.InsertOne(t.Context(), bson.M{"_id": "version", "version": 99, "applied": bson.M{"99": bson.M{"name": "of tomorrow", "at": time.Now()}}})
	require.NoError(t, err)
	w.start("presence")
	for {
		why := ask(t.Context(), http.DefaultClient, w.urls[health("presence")]+"/readyz")
		require.Error(t, why)
		if strings.Contains(why.Error(), "the database is newer than this program") {
			require.ErrorContains(t, why, "of tomorrow")
			break
		}
		time.Sleep(20 * time.Millisecond) // the service has not looked yet
	}
	names, err := w.database("presence").ListCollectionNames(t.Context(), bson.M{})
	require.NoError(t, err)
	require.Equal(t, []string{"schema"}, names, "nothing is made in it")

	_, err = schema.DeleteOne(t.Context(), bson.M{"_id": "version"})
	require.NoError(t, err)
	w.ready()
	require.EqualValues(t, 1, version("presence")["version"])
}
