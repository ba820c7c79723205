package mongodb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver that FerretDB uses, too, so that both agree on locks
)

// indexes keeps an index on the expression that FerretDB looks documents up by, on every collection.
type indexes struct {
	dir string

	mu   sync.Mutex
	dbs  map[string]*sql.DB
	seen map[string]bool // "database.collection" whose index is there
}

func newIndexes(dir string) *indexes {
	return &indexes{dir: dir, dbs: map[string]*sql.DB{}, seen: map[string]bool{}}
}

// ensure adds the index of one collection, if the collection exists and has none.
func (x *indexes) ensure(ctx context.Context, database, collection string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	name := database + "." + collection
	if x.seen[name] {
		return nil
	}
	db, err := x.open(database)
	if err != nil || db == nil {
		return err
	}
	var table string
	err = db.QueryRowContext(ctx, `SELECT table_name FROM "_ferretdb_collections" WHERE name = ?`, collection).Scan(&table)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("index %s: find its table: %w", name, err)
	}
	if err := create(ctx, db, table); err != nil {
		return fmt.Errorf("index %s: %w", name, err)
	}
	x.seen[name] = true
	return nil
}

// forget is called when a database or collection was dropped: the index went with its table.
func (x *indexes) forget(database string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range x.seen {
		if strings.HasPrefix(name, database+".") {
			delete(x.seen, name)
		}
	}
	if db := x.dbs[database]; db != nil {
		_ = db.Close()
		delete(x.dbs, database)
	}
}

// ensureAll adds the missing indexes to data that was written without this package.
func (x *indexes) ensureAll() error {
	files, err := filepath.Glob(filepath.Join(x.dir, "*.sqlite"))
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".sqlite")
		collections, err := x.collections(name)
		if err != nil {
			return fmt.Errorf("list collections of %s: %w", name, err)
		}
		for _, c := range collections {
			if err := x.ensure(context.Background(), name, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *indexes) collections(database string) ([]string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	db, err := x.open(database)
	if err != nil || db == nil {
		return nil, err
	}
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM sqlite_master WHERE name = '_ferretdb_collections'`).Scan(&n); err != nil || n == 0 {
		return nil, err // 0: killed just after the file was made
	}
	rows, err := db.Query(`SELECT name FROM "_ferretdb_collections"`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// open gives the connection to a database, nil if there is none. The caller holds mu.
func (x *indexes) open(database string) (*sql.DB, error) {
	if db := x.dbs[database]; db != nil {
		return db, nil
	}
	file := filepath.Join(x.dir, database+".sqlite")
	if filepath.Dir(file) != x.dir {
		return nil, nil // a name with a separator is none that FerretDB takes
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: "_pragma=busy_timeout(10000)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	x.dbs[database] = db
	return db, nil
}

func (x *indexes) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var errs []error
	for name, db := range x.dbs {
		errs = append(errs, db.Close())
		delete(x.dbs, name)
	}
	return errors.Join(errs...)
}

func create(ctx context.Context, db *sql.DB, table string) error {
	quoted := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	_, err := db.ExecContext(ctx, fmt.Sprintf(`CREATE INDEX IF NOT EXISTS %s ON %s (_ferretdb_sjson->'$._id')`,
		quoted(table+"_labctl_id"), quoted(table)))
	return err
}
