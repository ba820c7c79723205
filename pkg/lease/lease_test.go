package lease_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/lease"
	"github.com/labctl/labctl/pkg/stack"
)

// onBoth runs a test against a server of terraform's http backend and against Azure's blob service.
func onBoth(t *testing.T, test func(t *testing.T, h *hours, s service)) {
	for name, serve := range map[string]func(*testing.T, *hours) service{"http": newStates, "azurerm": newBlobs} {
		t.Run(name, func(t *testing.T) {
			h := &hours{now: time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)}
			s := serve(t, h)
			test(t, h, s)
			require.NotContains(t, s.stored(), accountKey)
			require.NotContains(t, s.stored(), password)
		})
	}
}

func (m *machine) acquire(s service) (*stack.RemoteLock, error) {
	return m.locks.Acquire(context.Background(), s.place(), m.request())
}

func (m *machine) mustAcquire(t *testing.T, s service) *stack.RemoteLock {
	t.Helper()
	lock, err := m.acquire(s)
	require.NoError(t, err)
	return lock
}

func requireHeldBy(t *testing.T, holder *machine, expires time.Time, err error) {
	t.Helper()
	var held *stack.HeldError
	require.ErrorAs(t, err, &held)
	want := holder.me
	want.Expires = expires
	require.Equal(t, want, held.Holder)
	require.Contains(t, held.Place, ".labctl-lock")
	require.NotContains(t, err.Error(), accountKey)
	require.NotContains(t, err.Error(), password)
}

func TestOnlyOneHoldsTheLock(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		ada, ben := newMachine(h, s, "ada"), newMachine(h, s, "ben")
		lock := ada.mustAcquire(t, s)
		require.Nil(t, lock.Dead)
		_, err := ben.acquire(s)
		requireHeldBy(t, ada, h.Now().Add(lasts), err)
		require.NoError(t, lock.Release())
		require.NoError(t, lock.Release(), "a second time it does nothing")
		lock = ben.mustAcquire(t, s)
		require.Nil(t, lock.Dead, "who released it is not dead")
		require.NoError(t, lock.Release())
	})
}

func TestTheLockOfADeadHolderExpires(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		ada, ben := newMachine(h, s, "ada"), newMachine(h, s, "ben")
		ada.mustAcquire(t, s) // and never wakes again
		expires := h.Now().Add(lasts)
		h.pass(lasts - time.Second)
		_, err := ben.acquire(s)
		requireHeldBy(t, ada, expires, err)
		h.pass(time.Second)
		lock := ben.mustAcquire(t, s)
		require.NotNil(t, lock.Dead)
		require.Equal(t, ada.me.ID, lock.Dead.ID)
		require.Equal(t, "ada-laptop", lock.Dead.Host)
		require.NoError(t, lock.Release())
	})
}

func TestALivingHolderRenewsTheLock(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		ada, ben := newMachine(h, s, "ada"), newMachine(h, s, "ben")
		lock := ada.mustAcquire(t, s)
		for range 9 {
			require.Equal(t, lasts/4, ada.wake())
			ada.settled(t)
			_, err := ben.acquire(s)
			requireHeldBy(t, ada, h.Now().Add(lasts), err)
		}
		require.NoError(t, lock.Release())
		require.NoError(t, ben.mustAcquire(t, s).Release())
	})
}

func TestTheLockOfAHolderThatIsKnownToBeDeadIsFree(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		ada, ben, again := newMachine(h, s, "ada"), newMachine(h, s, "ben"), newMachine(h, s, "again")
		ada.mustAcquire(t, s)
		request := ben.request()
		request.Dead = "another"
		_, err := ben.locks.Acquire(context.Background(), s.place(), request)
		requireHeldBy(t, ada, h.Now().Add(lasts), err)
		request = again.request()
		request.Dead = ada.me.ID
		_, err = again.locks.Acquire(context.Background(), s.place(), request)
		require.NoError(t, err)
	})
}

func TestWhoLosesTheLockHearsOfIt(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		ada, ben := newMachine(h, s, "ada"), newMachine(h, s, "ben")
		lock := ada.mustAcquire(t, s)
		s.free()
		taken := ben.mustAcquire(t, s)
		require.Equal(t, ada.me.ID, taken.Dead.ID, "it did not release it")
		ada.wake()
		require.ErrorContains(t, <-ada.lost, ".labctl-lock is lost: ")
		require.NoError(t, lock.Release())
		_, err := newMachine(h, s, "cyd").acquire(s)
		requireHeldBy(t, ben, h.Now().Add(lasts-lasts/4), err)
	})
}

// TestALockThatCannotBeRenewed has the holder give up before anybody else may take the lock.
func TestALockThatCannotBeRenewed(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		ada := newMachine(h, s, "ada")
		ada.mustAcquire(t, s)
		s.refuse(true)
		var waited time.Duration
		for len(ada.lost) == 0 {
			waited += ada.wake()
			if waited >= lasts*3/4 {
				break
			}
			ada.settled(t)
		}
		err := <-ada.lost
		require.ErrorContains(t, err, "is lost: it could not be renewed for 45s: ")
		require.NotContains(t, err.Error(), accountKey)
		require.Equal(t, lasts*3/4, waited)
	})
}

func TestAShortOutageDoesNotMatter(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		ada := newMachine(h, s, "ada")
		lock := ada.mustAcquire(t, s)
		s.refuse(true)
		for range 4 {
			ada.wake()
			ada.settled(t)
		}
		s.refuse(false)
		ada.wake()
		ada.settled(t)
		_, err := newMachine(h, s, "ben").acquire(s)
		requireHeldBy(t, ada, h.Now().Add(lasts), err)
		require.NoError(t, lock.Release())
	})
}

func TestManyAtOnce(t *testing.T) {
	for name, expired := range map[string]bool{"a free lock": false, "an expired lock": true} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, h *hours, s service) {
				if expired {
					newMachine(h, s, "dead").mustAcquire(t, s)
					h.pass(lasts)
				}
				var got sync.Map
				var all sync.WaitGroup
				for i := range 8 {
					all.Go(func() {
						m := newMachine(h, s, fmt.Sprint("m", i))
						if _, err := m.acquire(s); err == nil {
							got.Store(i, true)
						}
					})
				}
				all.Wait()
				holders := 0
				got.Range(func(any, any) bool { holders++; return true })
				require.Equal(t, 1, holders)
			})
		})
	}
}

func TestAPlaceThatDoesNotExist(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		s.remove()
		_, err := newMachine(h, s, "ada").acquire(s)
		require.ErrorIs(t, err, stack.ErrNoPlace)
	})
}

func TestAServiceThatRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, h *hours, s service) {
		s.refuse(true)
		_, err := newMachine(h, s, "ada").acquire(s)
		require.ErrorContains(t, err, "403")
		require.NotErrorIs(t, err, stack.ErrNoPlace)
		require.NotErrorIs(t, err, stack.ErrNoRemoteLock)
	})
}

func TestBackendsWithoutALock(t *testing.T) {
	locks := lease.New(lease.Options{Getenv: func(string) string { return "" }})
	text := func(pairs ...string) map[string]cty.Value {
		out := map[string]cty.Value{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = cty.StringVal(pairs[i+1])
		}
		return out
	}
	for name, place := range map[string]stack.StateBackend{
		"s3":                       {Type: "s3", Config: text("bucket", "b")},
		"http without a lock":      {Type: "http", Config: text("address", "http://127.0.0.1:1/a")},
		"azurerm with listed keys": {Type: "azurerm", Config: text("storage_account_name", "a", "container_name", "c", "key", "k")},
		"an unknown cloud":         {Type: "azurerm", Config: text("storage_account_name", "a", "container_name", "c", "key", "k", "environment", "moon")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := locks.Acquire(context.Background(), place, stack.LockRequest{})
			require.ErrorIs(t, err, stack.ErrNoRemoteLock)
		})
	}
}

func TestAnotherProgramsLock(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusLocked)
			_, _ = w.Write([]byte(`{"ID": "1", "Operation": "OperationTypeApply", "Who": "eve@ci", "Created": "2026-11-29T10:00:00Z"}`))
		}
	}))
	t.Cleanup(server.Close)
	locks := lease.New(lease.Options{Getenv: func(string) string { return "" }})
	_, err := locks.Acquire(context.Background(), stack.StateBackend{Type: "http", Config: map[string]cty.Value{
		"address": cty.StringVal(server.URL + "/a?token=" + password), "lock_address": cty.StringVal(server.URL + "/a?token=" + password),
	}}, stack.LockRequest{})
	var held *stack.HeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, "eve", held.Holder.User)
	require.Equal(t, "ci", held.Holder.Host)
	require.Empty(t, held.Holder.ID, "it has no end")
	require.NotContains(t, err.Error(), password)

	server.Close()
	_, err = locks.Acquire(context.Background(), stack.StateBackend{Type: "http", Config: map[string]cty.Value{
		"address": cty.StringVal(server.URL + "/a?token=" + password), "lock_address": cty.StringVal(server.URL + "/a?token=" + password),
	}}, stack.LockRequest{})
	require.Error(t, err)
	require.False(t, errors.As(err, &held))
	require.NotContains(t, err.Error(), password)
}
