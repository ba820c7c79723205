package gitops

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// GitHubApp is an app that is installed in an account of GitHub, and may write to some of its repositories.
type GitHubApp struct {
	ID, Installation string
	Key              []byte // private, RSA, PEM
}

// GitHubAPI is the base address of github.com's API.
const GitHubAPI = "https://api.github.com"

// TokenUser is the user under whose name an app's token is a password.
const TokenUser = "x-access-token"

// API gives the base address of GitHub's API for a repository: that of github.com, or of an Enterprise Server.
func (a GitHubApp) API(repository string) (string, error) {
	u, err := url.Parse(repository)
	if err != nil {
		return "", err
	}
	if u.Host == "github.com" {
		return GitHubAPI, nil
	}
	return u.Scheme + "://" + u.Host + "/api/v3", nil
}

// Token gives a token that stands for the app for an hour
// (docs.github.com, "Generating an installation access token for a GitHub App").
func (a GitHubApp) Token(ctx context.Context, repository string, now time.Time) (string, error) {
	statement, err := a.sign(now)
	if err != nil {
		return "", fmt.Errorf("key of the GitHub App: %w", err)
	}
	api, err := a.API(repository)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/app/installations/"+url.PathEscape(a.Installation)+"/access_tokens", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+statement)
	request.Header.Set("Accept", "application/vnd.github+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("token of the GitHub App: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return "", fmt.Errorf("token of the GitHub App: %w", err)
	}
	var answer struct {
		Token   string `json:"token"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(body, &answer); err != nil && response.StatusCode == http.StatusCreated {
		return "", fmt.Errorf("token of the GitHub App: %w", err)
	}
	if response.StatusCode != http.StatusCreated || answer.Token == "" {
		return "", fmt.Errorf("token of the GitHub App %s, installation %s: %s: %s", a.ID, a.Installation, response.Status, answer.Message)
	}
	return answer.Token, nil
}

// sign makes the statement by which the app is known. A minute of the past is for clocks that are slow.
func (a GitHubApp) sign(now time.Time) (string, error) {
	key, err := a.key()
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: a.ID, IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), Expiry: jwt.NewNumericDate(now.Add(9 * time.Minute)),
	}).Serialize()
}

func (a GitHubApp) key() (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(a.Key)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	if strings.Contains(block.Type, "RSA") {
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key, ok := key.(*rsa.PrivateKey); ok {
		return key, nil
	}
	return nil, errors.New("it is no RSA key")
}
