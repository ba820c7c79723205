package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/labctl/labctl/services/internal/wire"
)

// What users say of themselves.
type (
	Profile       = wire.Profile
	ProfileChange = wire.ProfileChange
	Preferences   = wire.Preferences
)

// Profile gives a user's profile.
func (s *Session) Profile(ctx context.Context, user string) (p Profile, err error) {
	err = s.do(ctx, http.MethodGet, "/api/auth/users/"+url.PathEscape(user)+"/profile", nil, &p)
	return p, err
}

// ChangeProfile replaces the profile of the session's user, but for the picture.
func (s *Session) ChangeProfile(ctx context.Context, c ProfileChange) (p Profile, err error) {
	err = s.do(ctx, http.MethodPut, "/api/auth/profile", c, &p)
	return p, err
}

// ChangePicture replaces the picture of the session's user with a PNG or a JPEG.
func (s *Session) ChangePicture(ctx context.Context, image []byte) (p Profile, err error) {
	err = s.do(ctx, http.MethodPut, "/api/auth/profile/picture", raw(image), &p)
	return p, err
}

// DeletePicture takes the picture of the session's user away.
func (s *Session) DeletePicture(ctx context.Context) (p Profile, err error) {
	err = s.do(ctx, http.MethodDelete, "/api/auth/profile/picture", nil, &p)
	return p, err
}

// raw is a body that is no JSON.
type raw []byte

// Picture gets the picture at the address that a Profile or a User has, and its type. It needs no session.
func (c *Client) Picture(ctx context.Context, address string) (image []byte, contentType string, err error) {
	if !strings.HasPrefix(address, "/api/auth/users/") {
		return nil, "", fmt.Errorf("get a picture: %q is no address of one", address)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+address, nil)
	if err != nil {
		return nil, "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, "", &Error{Status: res.StatusCode, Code: "http", Message: "get a picture: " + res.Status}
	}
	image, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return image, res.Header.Get("Content-Type"), err
}

// Preferences gives how the pages of the session's user are to behave.
func (s *Session) Preferences(ctx context.Context) (p Preferences, err error) {
	err = s.do(ctx, http.MethodGet, "/api/auth/preferences", nil, &p)
	return p, err
}

// ChangePreferences replaces them.
func (s *Session) ChangePreferences(ctx context.Context, p Preferences) error {
	return s.do(ctx, http.MethodPut, "/api/auth/preferences", p, nil)
}

// SetAway says that nobody is at the device, or somebody again. Other sockets of the same device, after a reconnect, say it again.
func (d *Device) SetAway(ctx context.Context, away bool) {
	d.mu.Lock()
	d.away = away
	ws := d.ws
	d.mu.Unlock()
	if ws != nil {
		_ = d.write(ctx, ws, awayFrame(away)) // if it fails, the socket is gone, and the next one says it
	}
}

func awayFrame(away bool) []byte {
	return wire.Encode(wire.ClientFrame{Type: wire.FrameAway, Away: away})
}
