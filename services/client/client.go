// Package client is the Go client of the chat: docs/protocol.md as functions. A Session is one device's log-in, a
// Device its socket, which reconnects and resumes by itself.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labctl/labctl/services/internal/wire"
)

// The protocol's objects.
type (
	User         = wire.User
	Message      = wire.Message
	GroupEvent   = wire.GroupEvent
	Conversation = wire.Conversation
	Member       = wire.Member
)

// DirectID gives the id of the conversation of two users.
func DirectID(a, b string) string { return wire.DirectID(a, b) }

// Error is an answer that is an error.
type Error struct {
	Status  int // 0: an error frame of the socket
	Code    string
	Message string
	// RetryAfter is how long to wait before the next try, where the answer said so.
	RetryAfter time.Duration `json:"-"`
}

func (e *Error) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("%s (%s)", e.Message, e.Code)
	}
	return fmt.Sprintf("%s (%s, HTTP %d)", e.Message, e.Code, e.Status)
}

// IsCode says whether err is an *Error with that code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Client speaks to one chat.
type Client struct {
	base    string
	http    *http.Client
	sockets *http.Client // each of its connections becomes a socket
}

// maxConns is how many requests of a client are under way at once, whoever's they are. The others wait: thousands of devices that come back together
// would else take as many files, here and at whoever passes their requests on.
const maxConns = 256

// New makes a client of the chat at baseURL, such as http://127.0.0.1:8080.
func New(baseURL string) *Client {
	return &Client{
		base: strings.TrimSuffix(baseURL, "/"),
		http: &http.Client{
			Timeout:   30 * time.Second,
			Transport: &http.Transport{Proxy: proxy, DialContext: Dial, MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxConns, IdleConnTimeout: 30 * time.Second},
		},
		sockets: &http.Client{Transport: &http.Transport{Proxy: proxy, DialContext: Dial}},
	}
}

// isLocal says whether a name is this machine's loopback address, as all below localhost are (RFC 6761, section 6.3). Browsers know;
// many machines' resolvers do not.
func isLocal(host string) bool { return strings.HasSuffix(host, ".localhost") }

// Dial connects to a chat's address as the client does.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && isLocal(host) {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
}

func proxy(r *http.Request) (*url.URL, error) {
	if isLocal(r.URL.Hostname()) {
		return nil, nil //nolint:nilnil // what http.Transport takes for no proxy
	}
	return http.ProxyFromEnvironment(r)
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Session is one device's log-in. It refreshes its tokens by itself and is safe for concurrent use.
type Session struct {
	c    *Client
	User User
	ID   string

	mu      sync.Mutex
	access  string
	expires time.Time
	refresh string
	heard   map[string]int64  // by conversation, the last seq that the user was told
	read    map[string]string // by conversation, the position of the last read of the user's own that was told
}

// hear notes that the user was told of a message. What the session reads from then on goes at least as far.
func (s *Session) hear(conversation string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard == nil {
		s.heard = map[string]int64{}
	}
	s.heard[conversation] = max(seq, s.heard[conversation])
}

// hearRead notes that the user was told of a read of their own.
func (s *Session) hearRead(conversation, position string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read == nil {
		s.read = map[string]string{}
	}
	s.read[conversation] = position
}

// Forget has the session read what there is, though its user was told of more.
func (s *Session) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard, s.read = nil, nil
}

// atLeast is the query that asks for what the user was told of a conversation.
func (s *Session) atLeast(conversation string, seq int64) url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := url.Values{}
	if seq := max(seq, s.heard[conversation]); seq > 0 {
		q.Set("at_least", strconv.FormatInt(seq, 10))
	}
	if position := s.read[conversation]; position != "" {
		q.Set("position", position)
	}
	return q
}

type sessionAnswer struct {
	User          User   `json:"user"`
	Session       string `json:"session"`
	AccessToken   string `json:"access_token"`
	AccessExpires int64  `json:"access_expires_in"`
	RefreshToken  string `json:"refresh_token"`
}

func (s *Session) take(a sessionAnswer) {
	s.access, s.refresh = a.AccessToken, a.RefreshToken
	s.expires = time.Now().Add(time.Duration(a.AccessExpires) * time.Second)
}

// Register makes a user and logs them in.
func (c *Client) Register(ctx context.Context, name, password, device string) (*Session, error) {
	return c.enter(ctx, "register", name, password, device)
}

// Login logs a user in.
func (c *Client) Login(ctx context.Context, name, password, device string) (*Session, error) {
	return c.enter(ctx, "login", name, password, device)
}

func (c *Client) enter(ctx context.Context, how, name, password, device string) (*Session, error) {
	var a sessionAnswer
	err := c.call(ctx, http.MethodPost, "/api/auth/"+how, "", map[string]string{"name": name, "password": password, "device": device}, &a)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", how, name, err)
	}
	s := &Session{c: c, User: a.User, ID: a.Session}
	s.take(a)
	return s, nil
}

// call makes one request. in and out may be nil.
func (c *Client) call(ctx context.Context, method, path, bearer string, in, out any) error {
	var body io.Reader
	kind := "application/json"
	if b, ok := in.(raw); ok {
		body, kind = bytes.NewReader(b), http.DetectContentType(b)
	} else if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", kind)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 32<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s %s: %w", method, path, err)
	}
	if res.StatusCode >= 400 {
		return errorOf(res, b)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("the answer of %s %s is not what the chat answers: %w", method, path, err)
	}
	return nil
}

// errorOf gives the error that an answer is.
func errorOf(res *http.Response, body []byte) error {
	var e struct {
		Error Error `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil || e.Error.Code == "" {
		// Not the chat's own answer, but one of a proxy before it.
		e.Error = Error{Code: "http", Message: fmt.Sprintf("%s %s: %s", res.Request.Method, res.Request.URL.Path, res.Status)}
	}
	e.Error.Status = res.StatusCode
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.Error.RetryAfter = time.Duration(seconds) * time.Second
	}
	return &e.Error
}

// early is how long before its end an access token is replaced.
const early = 20 * time.Second

// token gives an access token that is good for now.
func (s *Session) token(ctx context.Context, not string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.access != not && time.Until(s.expires) > early {
		return s.access, nil
	}
	var a sessionAnswer
	if err := s.c.call(ctx, http.MethodPost, "/api/auth/refresh", "", map[string]string{"refresh_token": s.refresh}, &a); err != nil {
		return "", fmt.Errorf("refresh the session of %s: %w", s.User.Name, err)
	}
	s.take(a)
	return s.access, nil
}

// do makes a request with an access token, refreshed if need be.
func (s *Session) do(ctx context.Context, method, path string, in, out any) error {
	bearer, err := s.token(ctx, "")
	if err != nil {
		return err
	}
	err = s.c.call(ctx, method, path, bearer, in, out)
	if !IsCode(err, "unauthenticated") {
		return err
	}
	if bearer, err = s.token(ctx, bearer); err != nil {
		return err
	}
	return s.c.call(ctx, method, path, bearer, in, out)
}

// RefreshToken gives the token that Resume takes. Each refresh replaces it.
func (s *Session) RefreshToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh
}

// Resume takes a session up by its refresh token.
func (c *Client) Resume(ctx context.Context, refreshToken string) (*Session, error) {
	var a sessionAnswer
	if err := c.call(ctx, http.MethodPost, "/api/auth/refresh", "", map[string]string{"refresh_token": refreshToken}, &a); err != nil {
		return nil, fmt.Errorf("resume a session: %w", err)
	}
	s := &Session{c: c, User: a.User, ID: a.Session}
	s.take(a)
	return s, nil
}

// AccessToken gives an access token that is good for now.
func (s *Session) AccessToken(ctx context.Context) (string, error) { return s.token(ctx, "") }

// Refresh replaces the tokens now.
func (s *Session) Refresh(ctx context.Context) error {
	s.mu.Lock()
	access := s.access
	s.mu.Unlock()
	_, err := s.token(ctx, access)
	return err
}

// Me asks auth whether the session still holds.
func (s *Session) Me(ctx context.Context) (u User, err error) {
	var a struct {
		User User `json:"user"`
	}
	err = s.do(ctx, http.MethodGet, "/api/auth/me", nil, &a)
	return a.User, err
}

// Logout ends the session.
func (s *Session) Logout(ctx context.Context) error {
	return s.do(ctx, http.MethodPost, "/api/auth/logout", nil, nil)
}

type users struct {
	Users []User `json:"users"`
}

// FindUser gives the user with that name. ok is false if there is none.
func (s *Session) FindUser(ctx context.Context, name string) (u User, ok bool, err error) {
	var a users
	if err := s.do(ctx, http.MethodGet, "/api/auth/users?name="+url.QueryEscape(name), nil, &a); err != nil || len(a.Users) == 0 {
		return u, false, err
	}
	return a.Users[0], true, nil
}

// SearchUsers gives users whose name begins with q.
func (s *Session) SearchUsers(ctx context.Context, q string) ([]User, error) {
	var a users
	err := s.do(ctx, http.MethodGet, "/api/auth/users?q="+url.QueryEscape(q), nil, &a)
	return a.Users, err
}

// Users gives the users with those ids, in no order.
func (s *Session) Users(ctx context.Context, ids ...string) ([]User, error) {
	var a users
	err := s.do(ctx, http.MethodGet, "/api/auth/users?ids="+url.QueryEscape(strings.Join(ids, ",")), nil, &a)
	return a.Users, err
}

// Conversations gives the session's user's conversations, last active first.
func (s *Session) Conversations(ctx context.Context) ([]Conversation, error) {
	return s.conversations(ctx, "")
}

// conversations gives them as they are at a position, or later.
func (s *Session) conversations(ctx context.Context, position string) (all []Conversation, err error) {
	q := url.Values{}
	if position != "" {
		q.Set("position", position)
	}
	for {
		var page struct {
			Conversations []Conversation `json:"conversations"`
			Next          string         `json:"next"`
		}
		if err := s.do(ctx, http.MethodGet, "/api/conversations?"+q.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Conversations...)
		if page.Next == "" {
			break
		}
		q.Set("cursor", page.Next)
	}
	slices.SortStableFunc(all, func(a, b Conversation) int { return b.LastMessage.At.Compare(a.LastMessage.At.Time) })
	return all, nil
}

// Conversation gives one conversation.
func (s *Session) Conversation(ctx context.Context, id string) (c Conversation, err error) {
	path := "/api/conversations/" + url.PathEscape(id)
	if q := s.atLeast(id, 0); len(q) > 0 {
		path += "?" + q.Encode()
	}
	err = s.do(ctx, http.MethodGet, path, nil, &c)
	return c, err
}

// Page says which messages History gives: the last ones, those before a seq, or those after one.
type Page struct {
	Before, After int64 // at most one of them; 0 is none, but see AfterStart
	AfterStart    bool  // after seq 0
	Limit         int   // 0: the server's default
	// AtLeast is a seq that the user was told of: the page is of when it is there. What the session's own devices were told of it knows.
	AtLeast int64
}

// History gives a page of a conversation, in order of seq, and whether there is more in that direction.
func (s *Session) History(ctx context.Context, conversation string, p Page) (messages []Message, more bool, err error) {
	q := s.atLeast(conversation, p.AtLeast)
	q.Set("conversation", conversation)
	if p.Before > 0 {
		q.Set("before", strconv.FormatInt(p.Before, 10))
	}
	if p.After > 0 || p.AfterStart {
		q.Set("after", strconv.FormatInt(p.After, 10))
	}
	if p.Limit > 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	var a struct {
		Messages []Message `json:"messages"`
		More     bool      `json:"more"`
	}
	err = s.do(ctx, http.MethodGet, "/api/messages?"+q.Encode(), nil, &a)
	return a.Messages, a.More, err
}

// HistoryAfter gives all messages after a seq, once atLeast is there.
func (s *Session) HistoryAfter(ctx context.Context, conversation string, after, atLeast int64) (all []Message, err error) {
	for {
		page, more, err := s.History(ctx, conversation, Page{After: after, AfterStart: true, Limit: 200, AtLeast: atLeast})
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if !more || len(page) == 0 {
			return all, nil
		}
		after = page[len(page)-1].Seq
	}
}

// CreateGroup makes a group with those users and the session's own.
func (s *Session) CreateGroup(ctx context.Context, title string, members ...string) (g Group, err error) {
	err = s.do(ctx, http.MethodPost, "/api/groups", map[string]any{"title": title, "members": append([]string{}, members...)}, &g)
	return g, err
}

// Groups gives the groups of the session's user.
func (s *Session) Groups(ctx context.Context) ([]Group, error) {
	var a struct {
		Groups []Group `json:"groups"`
	}
	err := s.do(ctx, http.MethodGet, "/api/groups", nil, &a)
	return a.Groups, err
}

// Group gives one group.
func (s *Session) Group(ctx context.Context, id string) (g Group, err error) {
	err = s.do(ctx, http.MethodGet, "/api/groups/"+url.PathEscape(id), nil, &g)
	return g, err
}

// RenameGroup changes a group's title.
func (s *Session) RenameGroup(ctx context.Context, id, title string) (g Group, err error) {
	err = s.do(ctx, http.MethodPatch, "/api/groups/"+url.PathEscape(id), map[string]string{"title": title}, &g)
	return g, err
}

// AddMember adds a user to a group.
func (s *Session) AddMember(ctx context.Context, id, user string) (g Group, err error) {
	err = s.do(ctx, http.MethodPost, "/api/groups/"+url.PathEscape(id)+"/members", map[string]string{"user": user}, &g)
	return g, err
}

// RemoveMember takes a user out of a group.
func (s *Session) RemoveMember(ctx context.Context, id, user string) (g Group, err error) {
	err = s.do(ctx, http.MethodDelete, "/api/groups/"+url.PathEscape(id)+"/members/"+url.PathEscape(user), nil, &g)
	return g, err
}

// LeaveGroup takes the session's user out of a group.
func (s *Session) LeaveGroup(ctx context.Context, id string) error {
	return s.do(ctx, http.MethodPost, "/api/groups/"+url.PathEscape(id)+"/leave", nil, nil)
}

// Presence is whether a user is online.
type Presence struct {
	User    string           `json:"user"`
	Online  bool             `json:"online"`  // or away
	State   string           `json:"state"`   // online, away or offline
	Seen    time.Time        `json:"seen"`    // zero: never, or nothing that the session's user may know
	Devices []PresenceDevice `json:"devices"` // of the session's own user: those that are connected
}

// PresenceDevice is a connected device.
type PresenceDevice struct {
	Session string `json:"session"`
	State   string `json:"state"`
}

// Presence asks who is online.
func (s *Session) Presence(ctx context.Context, ids ...string) ([]Presence, error) {
	var a struct {
		Presence []Presence `json:"presence"`
	}
	err := s.do(ctx, http.MethodGet, "/api/presence?ids="+url.QueryEscape(strings.Join(ids, ",")), nil, &a)
	return a.Presence, err
}
