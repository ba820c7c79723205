package argocd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"github.com/argoproj/argo-cd/v2/pkg/apiclient"
	"github.com/argoproj/argo-cd/v2/pkg/apiclient/account"
	"github.com/argoproj/argo-cd/v2/pkg/apiclient/application"
	"github.com/argoproj/argo-cd/v2/pkg/apiclient/session"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/yaml"

	"github.com/labctl/labctl/pkg/kube"
)

// admin is Argo CD's built-in user.
const admin = "admin"

// API is Argo CD's own API, reached by a port-forward. Close ends it.
type API struct {
	client apiclient.Client
	stop   func()
}

// connect reaches Argo CD's server. Without a token it can only be asked for one.
//
// The port-forward is not that of apiclient, which reads the user's own kubeconfig files and lasts as long as the process.
func connect(ctx context.Context, client *kube.Client, token string) (*API, error) {
	address, stop, err := client.Forward(ctx, Namespace, "argocd-server", 80)
	if err != nil {
		return nil, err
	}
	api, err := apiclient.NewClient(&apiclient.ClientOptions{
		ServerAddr: address, PlainText: true, AuthToken: token, UserAgent: kube.FieldOwner,
		ConfigPath: filepath.Join(string(filepath.Separator), "nonexistent", "argocd"), // not the user's, whose log-ins are elsewhere
	})
	if err != nil {
		stop()
		return nil, fmt.Errorf("reach Argo CD: %w", err)
	}
	return &API{api, stop}, nil
}

// Login logs in as admin. The error is a *RefusedError where the password is wrong.
func Login(ctx context.Context, client *kube.Client, password string) (*API, error) {
	first, err := connect(ctx, client, "")
	if err != nil {
		return nil, err
	}
	defer first.Close()
	connection, sessions, err := first.client.NewSessionClient()
	if err != nil {
		return nil, fmt.Errorf("reach Argo CD: %w", err)
	}
	defer connection.Close()
	answer, err := sessions.Create(ctx, &session.SessionCreateRequest{Username: admin, Password: password})
	if status.Code(err) == codes.Unauthenticated {
		return nil, &RefusedError{Why: status.Convert(err).Message()}
	}
	if err != nil {
		return nil, fmt.Errorf("log in to Argo CD: %w", err)
	}
	return connect(ctx, client, answer.Token)
}

// RefusedError says that Argo CD did not take a password.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return "Argo CD refuses the password of admin: " + e.Why }

// Close ends the connection.
func (a *API) Close() { a.stop() }

// changePassword sets another password for admin.
func (a *API) changePassword(ctx context.Context, from, to string) error {
	connection, accounts, err := a.client.NewAccountClient()
	if err != nil {
		return fmt.Errorf("reach Argo CD: %w", err)
	}
	defer connection.Close()
	if _, err := accounts.UpdatePassword(ctx, &account.UpdatePasswordRequest{Name: admin, CurrentPassword: from, NewPassword: to}); err != nil {
		return fmt.Errorf("change Argo CD's password: %w", err)
	}
	return nil
}

// Sync makes Argo CD apply again what Git has of an application. One that is being synced is left alone.
func (a *API) Sync(ctx context.Context, name string) error {
	connection, apps, err := a.client.NewApplicationClient()
	if err != nil {
		return fmt.Errorf("reach Argo CD: %w", err)
	}
	defer connection.Close()
	prune, namespace := true, Namespace
	_, err = apps.Sync(ctx, &application.ApplicationSyncRequest{Name: &name, AppNamespace: &namespace, Prune: &prune})
	if err != nil && status.Code(err) != codes.FailedPrecondition {
		return fmt.Errorf("sync application %s: %w", name, err)
	}
	return nil
}

// Difference is an object that is not as Git says.
type Difference struct {
	App       string `json:"application"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Live      string `json:"live"`   // as YAML, with what Argo CD compares; "" where it is missing
	Target    string `json:"target"` // likewise; "" where it is to be deleted
}

// Differences gives the objects of an application that are not as Git says, by Argo CD's own comparison.
func (a *API) Differences(ctx context.Context, name string) ([]Difference, error) {
	connection, apps, err := a.client.NewApplicationClient()
	if err != nil {
		return nil, fmt.Errorf("reach Argo CD: %w", err)
	}
	defer connection.Close()
	namespace := Namespace
	answer, err := apps.ManagedResources(ctx, &application.ResourcesQuery{ApplicationName: &name, AppNamespace: &namespace})
	if err != nil {
		return nil, fmt.Errorf("compare application %s with Git: %w", name, err)
	}
	var out []Difference
	for _, r := range answer.Items {
		if r.Hook || r.NormalizedLiveState == r.PredictedLiveState {
			continue
		}
		d := Difference{App: name, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		if d.Live, err = asYAML(r.NormalizedLiveState); err == nil {
			d.Target, err = asYAML(r.PredictedLiveState)
		}
		if err != nil {
			return nil, fmt.Errorf("compare application %s with Git: %s/%s: %w", name, r.Kind, r.Name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

func asYAML(state string) (string, error) {
	if state == "" || state == "null" {
		return "", nil
	}
	text, err := yaml.JSONToYAML([]byte(state))
	return string(text), err
}

// ErrNoPage says that Argo CD serves no page.
var ErrNoPage = errors.New("this Argo CD was built from source, and its module has no page; `labctl gitops status` shows what it would")

// HasPage says whether Argo CD's server at an address has a page to show. The error is ErrNoPage where it has none.
func HasPage(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("look at Argo CD's page: %w", err)
	}
	if answer.StatusCode != http.StatusOK || !bytes.Contains(page, []byte("<title>Argo CD")) {
		return ErrNoPage // without its page it lists a directory
	}
	return nil
}
