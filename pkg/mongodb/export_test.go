package mongodb

import (
	"fmt"
	"path/filepath"
	"testing"

	"database/sql"

	"github.com/stretchr/testify/require"
)

// Plan gives SQLite's plan for FerretDB's look-up by _id.
func Plan(t *testing.T, dir, database, collection string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, database+".sqlite"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var table string
	require.NoError(t, db.QueryRow(`SELECT table_name FROM "_ferretdb_collections" WHERE name = ?`, collection).Scan(&table))
	var id, parent, unused int
	var detail string
	q := fmt.Sprintf(`EXPLAIN QUERY PLAN SELECT _ferretdb_sjson FROM %q WHERE _ferretdb_sjson->'$._id' = ?`, table)
	require.NoError(t, db.QueryRow(q, `"x"`).Scan(&id, &parent, &unused, &detail))
	return detail
}
