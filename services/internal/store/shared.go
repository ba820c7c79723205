package store

import (
	"context"
	"sync"
)

// Shared reads once for many who ask for the same at the same time. Each gets what a read found that began after they asked, so nobody gets
// less than a read of their own would have given. All get the same value, which nobody may change. The zero value is ready.
type Shared[T any] struct {
	mu    sync.Mutex
	reads map[string]*sharedRead[T] // those that run, by key
}

// sharedRead is a read, and the one that follows it if somebody has asked since it began.
type sharedRead[T any] struct {
	read  func() (T, error)
	next  *sharedRead[T]
	done  chan struct{}
	value T
	err   error
}

// Get gives what read finds, or what the read finds that another has asked for with that key. It returns when ctx ends; the read goes on for
// the others, with the values of the context of who asked first.
func (s *Shared[T]) Get(ctx context.Context, key string, read func(context.Context) (T, error)) (T, error) {
	r := s.ask(ctx, key, read)
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (s *Shared[T]) ask(ctx context.Context, key string, read func(context.Context) (T, error)) *sharedRead[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := s.reads[key]
	if running != nil && running.next != nil {
		return running.next
	}
	values := context.WithoutCancel(ctx)
	r := &sharedRead[T]{read: func() (T, error) { return read(values) }, done: make(chan struct{})}
	if running != nil {
		running.next = r
		return r
	}
	if s.reads == nil {
		s.reads = map[string]*sharedRead[T]{}
	}
	s.reads[key] = r
	go s.run(key, r)
	return r
}

// run reads until nobody has asked since the last read began.
func (s *Shared[T]) run(key string, r *sharedRead[T]) {
	for r != nil {
		r.value, r.err = r.read()
		close(r.done)
		s.mu.Lock()
		r = r.next
		if r == nil {
			delete(s.reads, key)
		} else {
			s.reads[key] = r
		}
		s.mu.Unlock()
	}
}
