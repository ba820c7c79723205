package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Login is one of a user's sessions, as the list shows it.
type Login struct {
	ID      string    `json:"id"`
	Device  string    `json:"device"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"` // the last login or refresh
	Expires time.Time `json:"expires"`
	Current bool      `json:"current"` // the session that asks
}

type ended struct {
	Ended int `json:"ended"`
}

// Logins gives the sessions of the session's user, last used first.
func (s *Session) Logins(ctx context.Context) ([]Login, error) {
	var a struct {
		Sessions []Login `json:"sessions"`
	}
	err := s.do(ctx, http.MethodGet, "/api/auth/sessions", nil, &a)
	return a.Sessions, err
}

// EndLogin ends one session of the session's user.
func (s *Session) EndLogin(ctx context.Context, id string) error {
	return s.do(ctx, http.MethodDelete, "/api/auth/sessions/"+url.PathEscape(id), nil, nil)
}

// EndOtherLogins ends all sessions of the session's user but this one, and gives how many there were.
func (s *Session) EndOtherLogins(ctx context.Context) (int, error) {
	var a ended
	err := s.do(ctx, http.MethodDelete, "/api/auth/sessions", nil, &a)
	return a.Ended, err
}

// ChangePassword changes the password of the session's user, which ends their other sessions, and gives how many there were.
func (s *Session) ChangePassword(ctx context.Context, password, newPassword string) (int, error) {
	var a ended
	err := s.do(ctx, http.MethodPost, "/api/auth/password", map[string]string{"password": password, "new_password": newPassword}, &a)
	return a.Ended, err
}

// EndLoginsOf ends all sessions of another user, for which the session's user must be a moderator, and gives how many there were.
func (s *Session) EndLoginsOf(ctx context.Context, user string) (int, error) {
	var a ended
	err := s.do(ctx, http.MethodDelete, "/api/auth/users/"+url.PathEscape(user)+"/sessions", nil, &a)
	return a.Ended, err
}

// SetRole gives another user a role, for which the session's user must be an admin. It ends that user's sessions.
func (s *Session) SetRole(ctx context.Context, user, role string) error {
	return s.do(ctx, http.MethodPut, "/api/auth/users/"+url.PathEscape(user)+"/role", map[string]string{"role": role}, nil)
}

// DeleteAccount deletes the account of the session's user. The password is empty for who has none and has logged in just now.
func (s *Session) DeleteAccount(ctx context.Context, password string) error {
	return s.do(ctx, http.MethodPost, "/api/auth/delete", map[string]string{"password": password}, nil)
}

// DeleteAccountOf deletes another user's account, for which the session's user must be an admin.
func (s *Session) DeleteAccountOf(ctx context.Context, user string) error {
	return s.do(ctx, http.MethodDelete, "/api/auth/users/"+url.PathEscape(user), nil, nil)
}

// Export writes all that the chat keeps of the session's user, as lines of JSON: what each service has, up to its line of type "end".
func (s *Session) Export(ctx context.Context, to io.Writer) error { return s.export(ctx, "", to) }

// ExportOf writes as much of another user, for which the session's user must be an admin.
func (s *Session) ExportOf(ctx context.Context, user string, to io.Writer) error {
	return s.export(ctx, "?user="+url.QueryEscape(user), to)
}

func (s *Session) export(ctx context.Context, query string, to io.Writer) error {
	for _, path := range []string{"/api/auth/export", "/api/groups/export", "/api/messages/export"} {
		access, err := s.token(ctx, "")
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.c.base+path+query, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+access)
		res, err := (&http.Client{Transport: s.c.http.Transport}).Do(req) // it may take longer than other answers
		if err != nil {
			return err
		}
		if err := save(res, to); err != nil {
			return fmt.Errorf("get %s: %w", path, err)
		}
	}
	return nil
}

// endLine is the last line of what a service exports.
const endLine = `{"type":"end"}`

// save writes the lines of an export.
func save(res *http.Response, to io.Writer) error {
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		if err != nil {
			return err
		}
		return errorOf(res, b)
	}
	lines := bufio.NewReader(res.Body)
	last := ""
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) && strings.TrimSpace(last) == endLine {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the export is not whole: %w", err)
		}
		if _, err := io.WriteString(to, line); err != nil {
			return err
		}
		last = line
	}
}

// Suspend keeps another user out, for which the session's user must be an admin. It ends that user's sessions, and gives how many there were.
func (s *Session) Suspend(ctx context.Context, user string) (int, error) {
	var a ended
	err := s.do(ctx, http.MethodPut, suspension(user), nil, &a)
	return a.Ended, err
}

// LiftSuspension lets a suspended user log in again, for which the session's user must be an admin.
func (s *Session) LiftSuspension(ctx context.Context, user string) error {
	return s.do(ctx, http.MethodDelete, suspension(user), nil, nil)
}

func suspension(user string) string { return "/api/auth/users/" + url.PathEscape(user) + "/suspension" }

// RotateKeys lets the next signing key take over, for which the session's user must be an admin. With drop all access tokens end at
// once; sessions refresh them.
func (s *Session) RotateKeys(ctx context.Context, drop bool) error {
	return s.do(ctx, http.MethodPost, "/api/auth/keys/rotate", map[string]bool{"drop_old": drop}, nil)
}
