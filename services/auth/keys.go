package auth

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// ring is all signing keys, one document, so that a rotation is one write: of several instances one makes it. The last
// key is the next one, published and not used yet; the one before it signs; those before it have signed.
type ring struct {
	ID      string    `bson:"_id"`
	Version int64     `bson:"version"`
	Since   time.Time `bson:"since"` // when the current key began to sign
	Keys    []ringKey `bson:"keys"`
}

type ringKey struct {
	Kid   string    `bson:"kid"`
	Seed  []byte    `bson:"seed"`  // encrypted (see sealer)
	Until time.Time `bson:"until"` // of a key that has signed: when its last token has expired
}

const ringID = "signing-keys"

func (s sealer) newRingKey() (ringKey, error) {
	seed, err := token.NewKey()
	if err != nil {
		return ringKey{}, err
	}
	kid := wire.NewID()
	return ringKey{Kid: kid, Seed: s.seal(kid, seed)}, nil
}

func (r ring) current() ringKey { return r.Keys[len(r.Keys)-2] }
func (r ring) next() ringKey    { return r.Keys[len(r.Keys)-1] }

// rotate gives the ring after the next key has taken over at now, and fresh is the next one. The old ones stay until keep after that; with drop they go now.
func (r ring) rotate(fresh ringKey, now time.Time, keep time.Duration, drop bool) ring {
	n := ring{ID: r.ID, Version: r.Version + 1, Since: now}
	for i, k := range r.Keys[:len(r.Keys)-1] {
		if i == len(r.Keys)-2 {
			k.Until = now.Add(keep)
		}
		if !drop && now.Before(k.Until) {
			n.Keys = append(n.Keys, k)
		}
	}
	n.Keys = append(n.Keys, r.next(), fresh)
	return n
}

// keys is an instance's view of the ring.
type keys struct {
	settings *mongo.Collection
	sealer   sealer
	life     time.Duration // of a key that signs
	keep     time.Duration // of a key that has signed: a token's life and the time in which other instances notice
	readOnly bool          // another makes and rotates them
	now      func() time.Time
	changed  func() // called when others are in use than before
	state    atomic.Pointer[keyState]
}

type keyState struct {
	version int64
	signer  *token.Signer
	set     jose.JSONWebKeySet
}

// load takes over what the database has, makes the first keys, and rotates when it is time.
func (k *keys) load(ctx context.Context) error {
	r, ok, err := store.Get[ring](ctx, k.settings, ringID)
	switch {
	case err != nil:
		return err
	case k.readOnly && !ok:
		return errors.New("there are no signing keys yet; the live auth makes them")
	case k.readOnly:
		return k.take(r)
	}
	if !ok {
		r = ring{ID: ringID, Version: 1, Since: k.now().UTC(), Keys: make([]ringKey, 2)}
		for i := range r.Keys {
			if r.Keys[i], err = k.sealer.newRingKey(); err != nil {
				return err
			}
		}
		// Of several instances one inserts; all use what is there.
		if _, err := store.Insert(ctx, k.settings, r); err != nil {
			return err
		}
		if r, _, err = store.Get[ring](ctx, k.settings, ringID); err != nil {
			return err
		}
	}
	if len(r.Keys) < 2 {
		return fmt.Errorf("the signing keys are %d; there must be a current and a next one", len(r.Keys))
	}
	if err := k.sealAll(ctx, &r); err != nil {
		return err
	}
	if k.now().Sub(r.Since) >= k.life {
		_, err := k.replace(ctx, r, false)
		return err
	}
	return k.take(r)
}

// sealAll encrypts the seeds that an earlier version has written plainly. If another instance changes the keys meanwhile, the next look does.
func (k *keys) sealAll(ctx context.Context, r *ring) error {
	changed := false
	for i, key := range r.Keys {
		if isPlain(key.Seed) {
			r.Keys[i].Seed, changed = k.sealer.seal(key.Kid, key.Seed), true
		}
	}
	if !changed {
		return nil
	}
	_, err := store.Update(ctx, k.settings, ringID, bson.D{{Key: "$set", Value: bson.D{{Key: "keys", Value: r.Keys}}}}, bson.E{Key: "version", Value: r.Version})
	return err
}

// rotate lets the next key take over now.
func (k *keys) rotate(ctx context.Context, drop bool) (ring, error) {
	for range 5 {
		if err := k.load(ctx); err != nil {
			return ring{}, err
		}
		r, ok, err := store.Get[ring](ctx, k.settings, ringID)
		if err != nil {
			return r, err
		}
		if !ok {
			continue
		}
		n, err := k.replace(ctx, r, drop)
		if err != nil || n.Version == r.Version+1 {
			return n, err
		}
	}
	return ring{}, errors.New("the signing keys keep being rotated by others")
}

// replace writes the ring that follows r, unless another instance has done so.
func (k *keys) replace(ctx context.Context, r ring, drop bool) (ring, error) {
	fresh, err := k.sealer.newRingKey()
	if err != nil {
		return r, err
	}
	n := r.rotate(fresh, k.now().UTC(), k.keep, drop)
	matched, err := store.Update(ctx, k.settings, ringID, bson.D{{Key: "$set", Value: bson.D{
		{Key: "version", Value: n.Version}, {Key: "since", Value: n.Since}, {Key: "keys", Value: n.Keys},
	}}}, bson.E{Key: "version", Value: r.Version})
	if err != nil {
		return r, err
	}
	if !matched {
		n = r // what is there now is taken with the next look
	}
	return n, k.take(n)
}

func (k *keys) take(r ring) error {
	if s := k.state.Load(); s != nil && s.version >= r.Version {
		return nil
	}
	n := &keyState{version: r.Version}
	for i, key := range r.Keys {
		seed, err := k.sealer.unseal(key.Kid, key.Seed)
		if err != nil {
			return err
		}
		s, err := token.NewSigner(key.Kid, seed)
		if err != nil {
			return err
		}
		n.set.Keys = append(n.set.Keys, s.Public())
		if i == len(r.Keys)-2 {
			n.signer = s
		}
	}
	k.state.Store(n)
	k.changed()
	return nil
}

// sign and public may be called once load has succeeded.
func (k *keys) sign(c token.Claims) (string, error) { return k.state.Load().signer.Sign(c, k.now()) }

func (k *keys) public() jose.JSONWebKeySet { return k.state.Load().set }
