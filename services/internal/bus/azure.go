package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// workload gets tokens for Event Hubs by Azure's workload identity: the token of the pod's service account, which the cluster keeps
// fresh in a file, is exchanged at Entra for one of the identity that trusts it.
type workload struct {
	client, tenant string
	assertion      string // the file
	authority      string // https://login.microsoftonline.com/
	scope          string // https://<namespace>.servicebus.windows.net/.default
	transport      http.RoundTripper
	now            func() time.Time

	mu      sync.Mutex
	current string
	renew   time.Time // when to ask for the next
	expires time.Time
}

// exchangeTime is how long Entra may take.
const exchangeTime = 10 * time.Second

// token gives one that is good for a while yet. It is asked for anew when a fifth of its life is left, and the old one is used on while it
// lives if Entra does not answer.
func (w *workload) token(ctx context.Context) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now().Before(w.renew) {
		return w.current, nil
	}
	asked := w.now()
	token, life, err := w.exchange(ctx)
	if err != nil {
		if w.now().Before(w.expires) {
			return w.current, nil
		}
		return "", fmt.Errorf("get a token for Kafka from %s: %w", w.authority, err)
	}
	w.current, w.expires, w.renew = token, asked.Add(life), asked.Add(life*4/5)
	return token, nil
}

func (w *workload) exchange(ctx context.Context) (token string, life time.Duration, err error) {
	assertion, err := readSecret("AZURE_FEDERATED_TOKEN_FILE", w.assertion)
	if err != nil {
		return "", 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_id":             {w.client},
		"scope":                 {w.scope},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
	}
	to := strings.TrimSuffix(w.authority, "/") + "/" + url.PathEscape(w.tenant) + "/oauth2/v2.0/token"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// A redirect would carry the assertion elsewhere.
	client := &http.Client{Transport: w.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req) //nolint:gosec // G704: the address is the pod's own configuration, https only
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	var answer struct {
		Token       string `json:"access_token"`
		Seconds     int64  `json:"expires_in"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return "", 0, fmt.Errorf("read its answer: %w", err)
	}
	bad := json.Unmarshal(b, &answer)
	if res.StatusCode != http.StatusOK {
		why, _, _ := strings.Cut(answer.Description, "\n") // trace ids follow
		return "", 0, fmt.Errorf("it answers %s %s %s; is the identity %s federated with this pod's service account?",
			res.Status, answer.Error, strings.TrimSpace(why), w.client)
	}
	if bad != nil || answer.Token == "" || answer.Seconds <= 0 {
		return "", 0, errors.New("its answer holds no token with a time to live")
	}
	return answer.Token, time.Duration(answer.Seconds) * time.Second, nil
}
