package chaos

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Stop tells a part to end, and waits until it has.
func (p *Processes) Stop(ctx context.Context, part string) error {
	q := p.find(part)
	if q == nil {
		return fmt.Errorf("stop %s: there is no such part", part)
	}
	ended, err := q.terminate()
	if err != nil {
		return fmt.Errorf("stop %s: %w", part, err)
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s to end: %w; its log is %s", part, ctx.Err(), q.log())
	}
}

// Replace has another part, which was stopped, take the place of one, as a rollout does: the new one starts, and drain after it is ready the old one
// is told to end.
func (p *Processes) Replace(ctx context.Context, old, by string, drain time.Duration) error {
	q := p.find(by)
	if q == nil {
		return fmt.Errorf("start %s: there is no such part", by)
	}
	if err := q.start(); err != nil {
		return err
	}
	if err := p.await(ctx, q); err != nil {
		return err
	}
	if err := sleep(ctx, drain); err != nil {
		return fmt.Errorf("replace %s by %s: %w", old, by, err)
	}
	return p.Stop(ctx, old)
}

// terminate tells the part to end by itself. What it gives is closed when the part is gone.
func (q *process) terminate() (<-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wanted = false
	if q.cmd == nil {
		return nil, errors.New("it does not run")
	}
	return q.ended, q.cmd.Process.Signal(syscall.SIGTERM)
}
