package shadow

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A shadow costs two more copies of the service and of its database, so none is forgotten: it has a longest lifetime.
const (
	DefaultLifetime = 24 * time.Hour
	MaxLifetime     = 7 * 24 * time.Hour
)

// CheckLifetime says what is wrong with a lifetime.
func CheckLifetime(d time.Duration) error {
	if d > 0 && d <= MaxLifetime {
		return nil
	}
	return fmt.Errorf("a shadow cannot live for %s, but for at most %s", Brief(d), Brief(MaxLifetime))
}

// Ends says when the lifetime is over. It is zero where there is no longest one.
func (a About) Ends() time.Time {
	if a.Lifetime == 0 {
		return time.Time{}
	}
	return a.At.Add(a.Lifetime)
}

// IsOver says whether the lifetime is over.
func (a About) IsOver(now time.Time) bool { return a.Lifetime > 0 && !now.Before(a.Ends()) }

// errOver ends what is at work when the lifetime is over.
var errOver = errors.New("the lifetime is over")

// Brief writes a duration without what is zero at its end, such as 3h12m.
func Brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
