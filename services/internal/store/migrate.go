package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Migration is one step of a database's schema.
type Migration struct {
	// Version counts from 1 without holes.
	Version int
	// Name says what it does. It is written down and must not change once it has run anywhere.
	Name string
	// Up does it. It must be a check and then an act, so that it can be run again over what a dead instance left half done, and it must
	// end soon after its context. Instances of the version before are still at work meanwhile, so they must understand what it leaves.
	Up func(ctx context.Context, db *DB) error
}

// Collections is the first migration of most databases: it creates their collections.
func Collections(names ...string) Migration {
	return Migration{Version: 1, Name: "collections", Up: func(ctx context.Context, db *DB) error { return db.Create(ctx, names...) }}
}

// ErrNewerSchema is a database that a newer program has migrated.
var ErrNewerSchema = errors.New("the database is newer than this program")

// migrationLease is how long an instance that migrates may show no sign of life before another takes over.
const migrationLease = 10 * time.Second

// Migrate brings the database to the last of the migrations, which begin with version 1. Any number of instances may call it at once: one does
// the work and the others wait for it. What has run is in the collection "schema".
func (d *DB) Migrate(ctx context.Context, migrations []Migration) error {
	m := migrator{db: d, all: migrations, lease: migrationLease, me: rand.Text()}
	if err := m.run(ctx); err != nil {
		return fmt.Errorf("migrate the database %s: %w", d.Name(), err)
	}
	return nil
}

type migrator struct {
	db    *DB
	all   []Migration
	lease time.Duration
	me    string

	seen  lock // of another, as it was last found
	since time.Time
}

// lock is the document by which one instance migrates at a time. There are no times in it, since clocks differ: its holder
// counts, and who sees the same count for as long as the lease takes over.
type lock struct {
	ID     string `bson:"_id"`
	Holder string `bson:"holder"` // empty: nobody
	Beat   int64  `bson:"beat"`
}

const (
	schemaCollection = "schema"
	lockID           = "lock"
	versionID        = "version"
)

// schema is the document that says how far the database is.
type schema struct {
	ID      string             `bson:"_id"`
	Version int                `bson:"version"`
	Applied map[string]applied `bson:"applied"` // by version
}

type applied struct {
	Name string    `bson:"name"`
	At   time.Time `bson:"at"`
}

func (m *migrator) run(ctx context.Context) error {
	for i, mig := range m.all {
		if mig.Version != i+1 || mig.Name == "" || mig.Up == nil {
			return fmt.Errorf("migration %d of the program has version %d and name %q; they count from 1 and have a name", i+1, mig.Version, mig.Name)
		}
	}
	if err := m.db.Create(ctx, schemaCollection); err != nil {
		return err
	}
	for {
		at, err := m.version(ctx)
		if err != nil || at == len(m.all) {
			return err
		}
		held, err := m.take(ctx)
		if err != nil {
			return err
		}
		if held {
			return m.work(ctx)
		}
		t := time.NewTimer(min(m.lease/10, 200*time.Millisecond))
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("wait for another instance, which is at version %d of %d: %w", at, len(m.all), ctx.Err())
		case <-t.C:
		}
	}
}

// version gives how far the database is, if this program can go on from there.
func (m *migrator) version(ctx context.Context) (int, error) {
	s, _, err := Get[schema](ctx, m.db.Collection(schemaCollection), versionID)
	if err != nil {
		return 0, err
	}
	if s.Version > len(m.all) {
		return 0, fmt.Errorf("%w: it is at version %d (%s), and this program knows %d; run the program that migrated it, or a later one",
			ErrNewerSchema, s.Version, s.Applied[strconv.Itoa(s.Version)].Name, len(m.all))
	}
	for _, mig := range m.all[:s.Version] {
		if was := s.Applied[strconv.Itoa(mig.Version)].Name; was != mig.Name {
			return 0, fmt.Errorf("version %d was %q when it ran, and is %q in this program; a migration that has run must stay as it was, so add a new one", mig.Version, was, mig.Name)
		}
	}
	return s.Version, nil
}

// take tries to become the one who migrates.
func (m *migrator) take(ctx context.Context) (bool, error) {
	c := m.db.Collection(schemaCollection)
	l, ok, err := Get[lock](ctx, c, lockID)
	if err != nil {
		return false, err
	}
	if !ok {
		return Insert(ctx, c, lock{ID: lockID, Holder: m.me})
	}
	if l != m.seen {
		m.seen, m.since = l, time.Now()
	}
	if l.Holder != "" && time.Since(m.since) < m.lease {
		return false, nil
	}
	return Update(ctx, c, lockID, bson.D{{Key: "$set", Value: bson.D{{Key: "holder", Value: m.me}, {Key: "beat", Value: l.Beat + 1}}}},
		bson.E{Key: "holder", Value: l.Holder}, bson.E{Key: "beat", Value: l.Beat})
}

// errLost is another instance that took over.
var errLost = errors.New("another instance took over, because this one showed no sign of life")

// work migrates with the lock in hand and gives it back.
func (m *migrator) work(ctx context.Context) (err error) {
	ctx, lose := context.WithCancelCause(ctx)
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		m.beat(ctx, lose)
	}()
	defer func() {
		lost := errors.Is(context.Cause(ctx), errLost)
		lose(nil)
		<-beating
		if lost {
			err = errors.Join(errLost, err)
			return
		}
		// The context may have ended; the next instance need not wait for the lease.
		free, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_, freed := Update(free, m.db.Collection(schemaCollection), lockID,
			bson.D{{Key: "$set", Value: bson.D{{Key: "holder", Value: ""}}}}, bson.E{Key: "holder", Value: m.me})
		err = errors.Join(err, freed)
	}()
	at, err := m.version(ctx) // another may have come further before the lock was free
	if err != nil {
		return err
	}
	for _, mig := range m.all[at:] {
		if err := mig.Up(ctx, m.db); err != nil {
			return fmt.Errorf("version %d (%s): %w", mig.Version, mig.Name, err)
		}
		if err := m.record(ctx, mig); err != nil {
			return fmt.Errorf("write down version %d (%s): %w", mig.Version, mig.Name, err)
		}
	}
	return nil
}

// record writes down that a migration has run, if the one before it is the last.
func (m *migrator) record(ctx context.Context, mig Migration) error {
	c := m.db.Collection(schemaCollection)
	a := applied{Name: mig.Name, At: time.Now().UTC()}
	var done bool
	var err error
	if mig.Version == 1 {
		done, err = Insert(ctx, c, schema{ID: versionID, Version: 1, Applied: map[string]applied{"1": a}})
	} else {
		done, err = Update(ctx, c, versionID, bson.D{{Key: "$set", Value: bson.D{
			{Key: "version", Value: mig.Version}, {Key: "applied." + strconv.Itoa(mig.Version), Value: a},
		}}}, bson.E{Key: "version", Value: mig.Version - 1})
	}
	if err == nil && !done {
		return errLost
	}
	return err
}

// beat shows that this instance lives, and calls lose when another took over, or when for a whole lease the database did not hear of it.
func (m *migrator) beat(ctx context.Context, lose context.CancelCauseFunc) {
	heard := time.Now()
	t := time.NewTicker(m.lease / 4)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		sent := time.Now()
		mine, err := Update(ctx, m.db.Collection(schemaCollection), lockID,
			bson.D{{Key: "$inc", Value: bson.D{{Key: "beat", Value: int64(1)}}}}, bson.E{Key: "holder", Value: m.me})
		switch {
		case err == nil && mine:
			heard = sent
		case err == nil || time.Since(heard) > m.lease*3/4:
			lose(errLost)
			return
		}
	}
}
