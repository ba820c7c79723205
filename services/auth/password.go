package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"

	"github.com/labctl/labctl/services/internal/service"
)

// argon2id's parameters: the second choice of OWASP's Password Storage Cheat Sheet (19 MiB, two passes, one lane).
const (
	hashMemory  = 19 << 10 // KiB
	hashPasses  = 2
	hashThreads = 1
	hashKey     = 32
	hashSalt    = 16
)

// hashTime is about how long one hash takes.
const hashTime = 20 * time.Millisecond

// hasher hashes passwords, as many at once as there are processors: each takes 19 MiB and some 20 ms of one of them.
type hasher struct {
	bulkhead *bulkhead
	full     time.Duration // about how long a full queue takes
	hashes   prometheus.Counter
	seed     maphash.Seed
	// dummy is what a password is compared with where there is no such user, so that both take as long.
	dummy string
}

// newHasher makes a hasher with queue waiting places for each processor. It counts what it hashes.
func newHasher(queue int, hashes prometheus.Counter) (*hasher, error) {
	n := runtime.GOMAXPROCS(0)
	h := &hasher{bulkhead: newBulkhead(n, n*queue), full: time.Duration(queue) * hashTime, hashes: hashes, seed: maphash.MakeSeed()}
	salt, err := newSalt()
	if err != nil {
		return nil, err
	}
	h.dummy = encode(salt, derive(rand.Text(), salt))
	return h, nil
}

// hash hashes a password that came from address, for a name or session.
func (h *hasher) hash(ctx context.Context, address, of, password string) (string, error) {
	salt, err := newSalt()
	if err != nil {
		return "", err
	}
	key, err := h.derive(ctx, address, of, password, salt)
	if err != nil {
		return "", err
	}
	return encode(salt, key), nil
}

// check says whether password, which came from address for a name or session, is the one of stored; an empty stored is no one's and takes as long.
func (h *hasher) check(ctx context.Context, address, of, password, stored string) (bool, error) {
	known := stored != ""
	if !known {
		stored = h.dummy
	}
	salt, key, err := decode(stored)
	if err != nil {
		return false, err
	}
	got, err := h.derive(ctx, address, of, password, salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, key) == 1 && known, nil
}

// derive hashes when it is this caller's turn. Where too many wait already it says so at once, or when others need the place more.
func (h *hasher) derive(ctx context.Context, address, of, password string, salt []byte) ([]byte, error) {
	err := h.bulkhead.acquire(ctx, address, h.who(address, of, password))
	if errors.Is(err, errFull) {
		return nil, &service.Error{Status: http.StatusServiceUnavailable, Code: "unavailable", RetryAfter: max(h.full, time.Second),
			Message: "too many passwords wait to be checked; try again"}
	}
	if err != nil {
		return nil, fmt.Errorf("wait for a turn to hash: %w", err) // the caller has gone
	}
	defer h.bulkhead.release()
	h.hashes.Inc()
	return derive(password, salt), nil
}

// who is the same for the same try, and tells nothing of it. The password is in it: who does not know that learns nothing about others' tries by how long
// theirs wait.
func (h *hasher) who(address, of, password string) uint64 {
	var m maphash.Hash
	m.SetSeed(h.seed)
	for _, s := range []string{address, of, password} {
		_, _ = m.WriteString(s) // never fails
		_ = m.WriteByte(0)
	}
	return m.Sum64()
}

func derive(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, hashPasses, hashMemory, hashThreads, hashKey)
}

func newSalt() ([]byte, error) {
	salt := make([]byte, hashSalt)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("make a salt: %w", err)
	}
	return salt, nil
}

// encode writes the parameters down with the hash, so that they can be raised later.
func encode(salt, key []byte) string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashPasses, hashThreads,
		b.EncodeToString(salt), b.EncodeToString(key))
}

func decode(s string) (salt, key []byte, err error) {
	parts := strings.Split(s, "$")
	want := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d", argon2.Version, hashMemory, hashPasses, hashThreads)
	if len(parts) != 6 || strings.Join(parts[:4], "$") != want {
		return nil, nil, errors.New("a stored password hash has another form")
	}
	b := base64.RawStdEncoding
	if salt, err = b.DecodeString(parts[4]); err == nil {
		key, err = b.DecodeString(parts[5])
	}
	if err != nil {
		return nil, nil, fmt.Errorf("a stored password hash: %w", err)
	}
	return salt, key, nil
}
