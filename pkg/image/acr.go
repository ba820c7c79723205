//go:build unix

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

const (
	// tokenLife is how long a registry's token is used again. Azure gives it three hours.
	tokenLife = time.Hour
	// askingWithin bounds each question for a token: the az command takes some seconds.
	askingWithin = time.Minute
	// mostOfAnAnswer bounds what is read of one.
	mostOfAnAnswer = 1 << 20
)

// keychain knows who its user is at a registry: what the Docker configuration says, and at Azure's registries, where it
// says nothing, whoever is logged in to Azure. So nobody has to log in to a registry that a stack has just made.
type keychain struct {
	getenv func(string) string
	client *http.Client

	mu     sync.Mutex
	tokens map[string]registryToken // registry → what it gave
}

type registryToken struct {
	token string
	got   time.Time
}

// azureToken is of somebody who is logged in to Azure. The JSON is what az says.
type azureToken struct {
	Token  string `json:"accessToken"`
	Tenant string `json:"tenant"`
}

// Resolve is for those who have no context.
func (k *keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext gives the credentials for a registry, and authn.Anonymous where there are none.
func (k *keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	who, err := authn.Resolve(ctx, authn.DefaultKeychain, target)
	registry := target.RegistryStr()
	if err != nil || who != authn.Anonymous || !isAzure(registry) {
		return who, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if had := k.tokens[registry]; had.token != "" && time.Since(had.got) < tokenLife {
		return authn.FromConfig(authn.AuthConfig{IdentityToken: had.token}), nil
	}
	token, err := k.azure(ctx)
	if err != nil {
		return nil, fmt.Errorf("log in to %s: %w", registry, err)
	}
	if token.Token == "" {
		return authn.Anonymous, nil
	}
	refresh, err := k.exchange(ctx, registry, token)
	if err != nil {
		return nil, fmt.Errorf("log in to %s: %w", registry, err)
	}
	if k.tokens == nil {
		k.tokens = map[string]registryToken{}
	}
	k.tokens[registry] = registryToken{refresh, time.Now()}
	return authn.FromConfig(authn.AuthConfig{IdentityToken: refresh}), nil
}

// isAzure says whether a registry is one of Azure's, in any of its clouds.
func isAzure(registry string) bool {
	return slices.ContainsFunc([]string{".azurecr.io", ".azurecr.cn", ".azurecr.us"}, func(suffix string) bool {
		return strings.HasSuffix(registry, suffix)
	})
}

// azure gives a token of whoever the environment says is logged in, as terraform's provider for Azure and Azure's own
// libraries read it, else of the user of the az command; an empty one where it is nobody.
func (k *keychain) azure(ctx context.Context) (azureToken, error) {
	first := func(names ...string) string {
		for _, name := range names {
			if v := k.getenv(name); v != "" {
				return v
			}
		}
		return ""
	}
	client, tenant := first("ARM_CLIENT_ID", "AZURE_CLIENT_ID"), first("ARM_TENANT_ID", "AZURE_TENANT_ID")
	file, secret := first("ARM_OIDC_TOKEN_FILE_PATH", "AZURE_FEDERATED_TOKEN_FILE"), first("ARM_CLIENT_SECRET", "AZURE_CLIENT_SECRET")
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {"https://management.azure.com/.default"}}
	switch {
	case client == "" || tenant == "":
		return k.az(ctx)
	case file != "":
		assertion, err := os.ReadFile(file)
		if err != nil {
			return azureToken{}, fmt.Errorf("read the federated token: %w", err)
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", strings.TrimSpace(string(assertion)))
	case secret != "":
		form.Set("client_secret", secret)
	default:
		return k.az(ctx)
	}
	authority := strings.TrimSuffix(k.getenv("AZURE_AUTHORITY_HOST"), "/")
	if authority == "" {
		authority = "https://login.microsoftonline.com"
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := k.ask(ctx, authority+"/"+url.PathEscape(tenant)+"/oauth2/v2.0/token", form, &answer); err != nil {
		return azureToken{}, fmt.Errorf("log in to Azure as %s: %w", client, err)
	}
	return azureToken{answer.Token, tenant}, nil
}

// az asks the Azure CLI, where there is one.
func (k *keychain) az(ctx context.Context) (azureToken, error) {
	path, err := exec.LookPath("az")
	if err != nil {
		return azureToken{}, nil //nolint:nilerr // then nobody is logged in, and the registry says what that means
	}
	ctx, cancel := context.WithTimeout(ctx, askingWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "account", "get-access-token", "--output", "json")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // az is a script with a child
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.Output()
	if err != nil {
		said := err.Error()
		if exit := new(exec.ExitError); errors.As(err, &exit) && len(exit.Stderr) > 0 {
			said, _, _ = strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
		}
		return azureToken{}, fmt.Errorf("az account get-access-token: %s; run: az login", said)
	}
	var token azureToken
	if err := json.Unmarshal(out, &token); err != nil || token.Token == "" {
		return azureToken{}, errors.New("az account get-access-token gave no token; run: az login")
	}
	return token, nil
}

// exchange makes a registry's own token of one of Azure's (https://azure.github.io/acr/AAD-OAuth.html).
func (k *keychain) exchange(ctx context.Context, registry string, token azureToken) (string, error) {
	form := url.Values{"grant_type": {"access_token"}, "service": {registry}, "access_token": {token.Token}}
	if token.Tenant != "" {
		form.Set("tenant", token.Tenant)
	}
	var answer struct {
		Token string `json:"refresh_token"`
	}
	if err := k.ask(ctx, "https://"+registry+"/oauth2/exchange", form, &answer); err != nil {
		return "", fmt.Errorf("%w; whoever pushes needs the role AcrPush there, and a new role takes some minutes", err)
	}
	return answer.Token, nil
}

// ask posts a form, and reads the JSON that comes back. No error holds what was posted.
func (k *keychain) ask(ctx context.Context, address string, form url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askingWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	content, err := io.ReadAll(io.LimitReader(response.Body, mostOfAnAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", address, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s%s", address, response.Status, reason(content))
	}
	if err := json.Unmarshal(content, answer); err != nil {
		return fmt.Errorf("read the answer of %s: it is not what was asked for", address)
	}
	return nil
}

// reason is what an OAuth server, or a registry, says of a refusal.
func reason(content []byte) string {
	var said struct {
		Description string `json:"error_description"`
		Errors      []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	switch {
	case json.Unmarshal(content, &said) != nil:
		return ""
	case said.Description != "":
		line, _, _ := strings.Cut(said.Description, "\n")
		return ": " + strings.TrimSpace(line)
	case len(said.Errors) > 0:
		return ": " + said.Errors[0].Message
	}
	return ""
}
