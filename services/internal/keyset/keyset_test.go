package keyset

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// source publishes keys. Its answers take some time.
type source struct {
	keys    []jose.JSONWebKey
	err     error
	takes   time.Duration
	fetches int
}

func (s *source) fetch(context.Context) (jose.JSONWebKeySet, error) {
	s.fetches++
	keys, err := s.keys, s.err
	time.Sleep(s.takes)
	return jose.JSONWebKeySet{Keys: keys}, err
}

func find(t *testing.T, s *Set, id string) error {
	t.Helper()
	_, err := s.Key(t.Context(), id)
	return err
}

func TestKeysAreFetchedAgain(t *testing.T) {
	const first, second = "k1", "k2"
	key := func(id string) jose.JSONWebKey {
		return jose.JSONWebKey{Key: ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)), KeyID: id}
	}
	for name, test := range map[string]func(t *testing.T, signer *source, s *Set){
		"not at once after a failure": func(t *testing.T, signer *source, s *Set) {
			signer.err = errors.New("signer is down")
			require.ErrorIs(t, find(t, s, first), signer.err, "not the caller's fault")
			signer.err = nil
			require.ErrorContains(t, find(t, s, first), "signer is down")
			time.Sleep(backOff)
			require.NoError(t, find(t, s, first))
			require.NoError(t, find(t, s, first))
			require.Equal(t, 2, signer.fetches)
		},
		"once in each back-off for an unknown key": func(t *testing.T, signer *source, s *Set) {
			signer.takes = 3 * time.Second // longer than the back-off, which begins at its end
			for range 3 {
				require.ErrorIs(t, find(t, s, second), ErrUnknown)
			}
			require.Equal(t, 1, signer.fetches)
			time.Sleep(backOff)
			signer.keys = append(signer.keys, key(second))
			require.NoError(t, find(t, s, second))
			require.Equal(t, 2, signer.fetches)
		},
		"once for all who wait": func(t *testing.T, signer *source, s *Set) {
			signer.takes = time.Second
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					if i%2 == 0 {
						assert.NoError(t, find(t, s, first))
					} else {
						assert.ErrorIs(t, find(t, s, second), ErrUnknown)
					}
				})
			}
			wg.Wait()
			require.Equal(t, 1, signer.fetches)
		},
		"while known keys serve": func(t *testing.T, signer *source, s *Set) {
			require.NoError(t, find(t, s, first))
			time.Sleep(refreshAge)
			signer.takes, signer.err = 3*time.Second, errors.New("signer is down")
			for range 10 {
				for range 10 {
					before := time.Now()
					require.NoError(t, find(t, s, first))
					require.Equal(t, before, time.Now(), "nobody waits")
				}
				time.Sleep(signer.takes + backOff)
				synctest.Wait()
			}
			require.Equal(t, 1+10, signer.fetches)
			signer.err, signer.keys = nil, nil
			require.NoError(t, find(t, s, first), "this one starts the fetch")
			time.Sleep(signer.takes)
			synctest.Wait()
			require.ErrorIs(t, find(t, s, first), ErrUnknown, "a dropped key is no good any more")
		},
		"before old ones are used": func(t *testing.T, signer *source, s *Set) {
			require.NoError(t, find(t, s, first))
			time.Sleep(maxAge)
			signer.keys = nil
			require.ErrorIs(t, find(t, s, first), ErrUnknown)
		},
		"though old ones are good where signer is down": func(t *testing.T, signer *source, s *Set) {
			require.NoError(t, find(t, s, first))
			time.Sleep(time.Hour)
			signer.err = errors.New("signer is down")
			require.NoError(t, find(t, s, first))
			require.Equal(t, 2, signer.fetches)
		},
		"after Forget": func(t *testing.T, signer *source, s *Set) {
			require.NoError(t, find(t, s, first))
			time.Sleep(refreshAge)
			signer.takes = 3 * time.Second
			require.NoError(t, find(t, s, first), "this one starts a fetch, whose answer is old when it comes")
			synctest.Wait()
			signer.keys, signer.takes = []jose.JSONWebKey{key(second)}, time.Second
			s.Forget()
			require.NoError(t, find(t, s, second))
			require.Equal(t, 3, signer.fetches)
			time.Sleep(3 * time.Second)
			require.NoError(t, find(t, s, second))
			require.ErrorIs(t, find(t, s, first), ErrUnknown)
		},
		"not for a caller who has gone": func(t *testing.T, signer *source, s *Set) {
			signer.takes = time.Second
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := s.Key(gone, first)
			require.ErrorIs(t, err, context.Canceled)
			time.Sleep(signer.takes)
			synctest.Wait()
			require.NoError(t, find(t, s, first), "the others get what it has asked for")
			require.Equal(t, 1, signer.fetches)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signer := &source{keys: []jose.JSONWebKey{key(first)}}
				test(t, signer, New(signer.fetch, time.Now))
			})
		})
	}
}
