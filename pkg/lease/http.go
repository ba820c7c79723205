package lease

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/stack"
)

const (
	// suffix is added to the name of a state for the name of its lock.
	suffix = ".labctl-lock"
	// maxAnswer bounds what is read of a server's answer, in bytes.
	maxAnswer = 1 << 20
)

// httpStore keeps a lock on a server that speaks the protocol of terraform's http backend. The lock is that of a state of its own,
// beside the stack's: terraform itself locks the stack's. The content of that state says until when the lock lasts, because the
// protocol has no renewal.
type httpStore struct {
	client                   *http.Client
	clock                    Clock
	address, lock, unlock    string
	update, lockBy, unlockBy string // methods
	user, password           string
	now                      time.Time // of the server, at its last answer
	serial                   uint64
}

func newHTTPStore(c settings, clock Clock) (*httpStore, error) {
	s := &httpStore{clock: clock, user: c.get("username", "TF_HTTP_USERNAME"), password: c.get("password", "TF_HTTP_PASSWORD")}
	address, lock := c.get("address", "TF_HTTP_ADDRESS"), c.get("lock_address", "TF_HTTP_LOCK_ADDRESS")
	if address == "" || lock == "" {
		return nil, fmt.Errorf("http without lock_address: %w", stack.ErrNoRemoteLock)
	}
	var err error
	if s.address, err = beside(address, address); err != nil {
		return nil, err
	}
	if s.lock, err = beside(address, lock); err != nil {
		return nil, err
	}
	unlock := c.get("unlock_address", "TF_HTTP_UNLOCK_ADDRESS")
	if unlock == "" {
		unlock = lock
	}
	if s.unlock, err = beside(address, unlock); err != nil {
		return nil, err
	}
	method := func(name, otherwise string) string {
		if v := c.get(name, "TF_HTTP_"+strings.ToUpper(name)); v != "" {
			return v
		}
		return otherwise
	}
	s.update, s.lockBy, s.unlockBy = method("update_method", http.MethodPost), method("lock_method", "LOCK"), method("unlock_method", "UNLOCK")
	s.client, err = httpClient(c)
	return s, err
}

// httpClient is a client with the backend's certificates.
func httpClient(c settings) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.get("skip_cert_verification") == "true" {
		conf.InsecureSkipVerify = true //nolint:gosec // G402: the user asks for it, and terraform does the same with the state itself
	}
	if ca := c.get("client_ca_certificate_pem", "TF_HTTP_CLIENT_CA_CERTIFICATE_PEM"); ca != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("client_ca_certificate_pem of the http backend holds no certificate")
		}
	}
	if cert := c.get("client_certificate_pem", "TF_HTTP_CLIENT_CERTIFICATE_PEM"); cert != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(c.get("client_private_key_pem", "TF_HTTP_CLIENT_PRIVATE_KEY_PEM")))
		if err != nil {
			return nil, fmt.Errorf("client_certificate_pem of the http backend: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf}}, nil
}

// beside gives the address that belongs to the lock where of belongs to the state at address: https://host/states/a/lock becomes
// https://host/states/a.labctl-lock/lock.
func beside(address, of string) (string, error) {
	state, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("address of the http backend: %w", plain(err))
	}
	u, err := url.Parse(of)
	if err != nil {
		return "", fmt.Errorf("lock_address of the http backend: %w", plain(err))
	}
	if rest, below := strings.CutPrefix(u.Path, state.Path); below && u.Host == state.Host && (rest == "" || rest[0] == '/') && path.Base(state.Path) != "/" {
		u.Path = strings.TrimSuffix(state.Path, "/") + suffix + rest
	} else {
		u.Path = strings.TrimSuffix(u.Path, "/") + suffix
	}
	u.RawPath = ""
	return u.String(), nil
}

func (s *httpStore) place() string {
	u, err := url.Parse(s.address)
	if err != nil {
		return "http"
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// lockInfo is what terraform sends to lock a state. Info holds the LockHolder.
type lockInfo struct {
	ID        string
	Operation string
	Info      string
	Who       string
	Version   string
	Created   time.Time
	Path      string
}

func newLockInfo(me stack.LockHolder) (lockInfo, error) {
	info, err := json.Marshal(me)
	return lockInfo{ID: me.ID, Operation: me.Command, Info: string(info), Who: me.User + "@" + me.Host, Created: me.Since}, err
}

func (i lockInfo) holder() stack.LockHolder {
	var h stack.LockHolder
	if json.Unmarshal([]byte(i.Info), &h) == nil && h.ID == i.ID {
		return h
	}
	user, host, _ := strings.Cut(i.Who, "@")
	return stack.LockHolder{User: user, Host: host, Command: i.Operation, Since: i.Created} // another program's
}

func (s *httpStore) acquire(ctx context.Context, me stack.LockHolder, dead string) (*stack.LockHolder, error) {
	doc, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	before := doc.holder()
	for range acquireTries {
		me.Expires = s.now.Add(lasts)
		info, err := newLockInfo(me)
		if err != nil {
			return nil, err
		}
		status, body, err := s.do(ctx, s.lockBy, s.lock, info)
		switch {
		case err != nil:
			return nil, err
		case status == http.StatusOK || status == http.StatusNoContent || status == http.StatusCreated:
			if err := s.write(ctx, me, false); err != nil {
				_, _, undo := s.do(context.WithoutCancel(ctx), s.unlockBy, s.unlock, info)
				return nil, errors.Join(err, undo)
			}
			return before, nil
		case status == http.StatusNotFound:
			return nil, stack.ErrNoPlace
		case status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented:
			return nil, fmt.Errorf("its server answers %d to %s: %w", status, s.lockBy, stack.ErrNoRemoteLock)
		case status != http.StatusLocked && status != http.StatusConflict:
			return nil, fmt.Errorf("its server answers %d to %s", status, s.lockBy)
		}
		var theirs lockInfo
		_ = json.Unmarshal(body, &theirs) // a holder that the server does not name stays unnamed
		holder := theirs.holder()
		if doc, err = s.read(ctx); err != nil {
			return nil, err
		}
		if doc != nil && doc.Lock.ID == holder.ID {
			holder.Expires = doc.Lock.Expires
		}
		if holder.ID == "" || holder.ID != dead && s.now.Before(holder.Expires) {
			return nil, &stack.HeldError{Place: s.place(), Holder: holder}
		}
		// The server refuses an id that is not the holder's any more, so that only one of several takes over.
		if _, _, err = s.do(ctx, s.unlockBy, s.unlock, theirs); err != nil {
			return nil, err
		}
		before = &holder
	}
	return nil, errors.New("others took the lock over at the same time")
}

func (s *httpStore) renew(ctx context.Context, me stack.LockHolder) error {
	doc, err := s.read(ctx)
	switch {
	case err != nil:
		return err
	case doc == nil:
		return &lostError{"its record is gone"}
	case doc.Lock.ID != me.ID:
		return &lostError{fmt.Sprintf("`%s` of %s on %s has taken it", doc.Lock.Command, doc.Lock.User, doc.Lock.Host)}
	case doc.Released:
		return &lostError{"it was released"}
	case !s.now.Before(doc.Lock.Expires):
		return &lostError{"it expired before it was renewed"} // somebody may be taking it over right now
	}
	me.Expires = s.now.Add(lasts)
	return s.write(ctx, me, false)
}

func (s *httpStore) release(ctx context.Context, me stack.LockHolder) error {
	if err := s.write(ctx, me, true); err != nil {
		return err
	}
	info, err := newLockInfo(me)
	if err != nil {
		return err
	}
	status, _, err := s.do(ctx, s.unlockBy, s.unlock, info)
	if err == nil && status >= http.StatusMultipleChoices {
		err = fmt.Errorf("its server answers %d to %s", status, s.unlockBy)
	}
	return err
}

// read gives the document, or nil where there is none.
func (s *httpStore) read(ctx context.Context) (*document, error) {
	status, body, err := s.do(ctx, http.MethodGet, s.address, nil)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound || status == http.StatusNoContent || status == http.StatusOK && len(bytes.TrimSpace(body)) == 0:
		return nil, nil
	case status != http.StatusOK:
		return nil, fmt.Errorf("its server answers %d to %s", status, http.MethodGet)
	}
	doc := &document{}
	if err := json.Unmarshal(body, doc); err != nil {
		return nil, fmt.Errorf("read the record of the lock: %w", err)
	}
	s.serial = doc.Serial
	return doc, nil
}

func (s *httpStore) write(ctx context.Context, me stack.LockHolder, released bool) error {
	u, err := url.Parse(s.address)
	if err != nil {
		return plain(err)
	}
	query := u.Query()
	query.Set("ID", me.ID) // as terraform says whose lock it is under which it writes
	u.RawQuery = query.Encode()
	status, _, err := s.do(ctx, s.update, u.String(), newDocument(s.serial+1, me, released))
	switch {
	case err != nil:
		return err
	case status == http.StatusConflict || status == http.StatusLocked:
		return &lostError{fmt.Sprintf("its server answers %d: it is somebody else's", status)}
	case status >= http.StatusMultipleChoices:
		return fmt.Errorf("its server answers %d to %s", status, s.update)
	}
	s.serial++
	return nil
}

// do sends one request and takes note of the server's time.
func (s *httpStore) do(ctx context.Context, method, address string, content any) (int, []byte, error) {
	var body io.Reader
	if content != nil {
		data, err := json.Marshal(content)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return 0, nil, plain(err)
	}
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.user != "" {
		request.SetBasicAuth(s.user, s.password)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil, plain(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	s.now = s.clock.Now()
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		s.now = date
	}
	if slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden}, response.StatusCode) {
		return 0, nil, fmt.Errorf("its server refuses %s: %d", method, response.StatusCode)
	}
	return response.StatusCode, data, nil
}
