package argocd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/kube"
)

// Passwords keeps admin's password on this machine, in files that only the user can read.
type Passwords struct{ Dir string }

// ErrNoPassword says that this machine does not know admin's password.
var ErrNoPassword = errors.New("this machine does not know Argo CD's password")

func (p Passwords) current() string { return filepath.Join(p.Dir, "password") }

// next is a password that is about to become the current one: whoever ends in between finds it here.
func (p Passwords) next() string { return filepath.Join(p.Dir, "password.next") }

// Read gives the password. The error is ErrNoPassword where there is none.
func (p Passwords) Read() (string, error) { return readPassword(p.current()) }

func readPassword(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNoPassword
	}
	if err != nil {
		return "", fmt.Errorf("read Argo CD's password: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Forget removes the password, of an Argo CD that is gone.
func (p Passwords) Forget() error {
	if err := os.RemoveAll(p.Dir); err != nil {
		return fmt.Errorf("forget Argo CD's password: %w", err)
	}
	return nil
}

// Open logs in with the password that this machine knows. Where it knows none, or one that Argo CD does not take, Argo CD gets a new one:
// by its own API from the password that it was installed with, or else in the secret where it keeps the password's hash. An end in between
// is mended by the next Open.
func (p Passwords) Open(ctx context.Context, client *kube.Client) (*API, error) {
	for _, path := range []string{p.current(), p.next()} {
		password, err := readPassword(path)
		if errors.Is(err, ErrNoPassword) {
			continue
		}
		if err != nil {
			return nil, err
		}
		api, err := Login(ctx, client, password)
		var refused *RefusedError
		switch {
		case err == nil:
			if path == p.next() {
				err = p.adopt()
			}
			return api, errors.Join(err, deleteInitial(ctx, client))
		case !errors.As(err, &refused):
			return nil, err
		}
	}
	initial, err := initialPassword(ctx, client)
	if err != nil {
		return nil, err
	}
	if initial != "" {
		api, err := Login(ctx, client, initial)
		if err == nil {
			defer api.Close()
			return p.change(ctx, client, func(password string) error { return api.changePassword(ctx, initial, password) })
		}
		var refused *RefusedError
		if !errors.As(err, &refused) {
			return nil, err
		}
	}
	return p.Reset(ctx, client)
}

// Rotate gives Argo CD a new password.
func (p Passwords) Rotate(ctx context.Context, client *kube.Client) error {
	api, err := p.Open(ctx, client)
	if err != nil {
		return err
	}
	defer api.Close()
	before, err := p.Read()
	if err != nil {
		return err
	}
	now, err := p.change(ctx, client, func(password string) error { return api.changePassword(ctx, before, password) })
	if err == nil {
		now.Close()
	}
	return err
}

// Reset gives Argo CD a new password without knowing the one that it has.
func (p Passwords) Reset(ctx context.Context, client *kube.Client) (*API, error) {
	return p.change(ctx, client, func(password string) error {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
		if err != nil {
			return err
		}
		secret := corev1apply.Secret("argocd-secret", Namespace).WithStringData(map[string]string{
			"admin.password": string(hash), "admin.passwordMtime": time.Now().UTC().Format(time.RFC3339),
		})
		_, err = client.Core.CoreV1().Secrets(Namespace).Apply(ctx, secret, metav1.ApplyOptions{FieldManager: "labctl-password", Force: true})
		if err != nil {
			return fmt.Errorf("reset Argo CD's password: %w", err)
		}
		return nil
	})
}

// lastPause is the longest between two log-ins with a password that Argo CD's server may not have seen yet. There are few: after five
// that it refuses, it takes none for five minutes.
const lastPause = 4 * time.Second

// change makes Argo CD take a new password, which is written down before, and logs in with it.
func (p Passwords) change(ctx context.Context, client *kube.Client, set func(password string) error) (*API, error) {
	password := rand.Text()
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep Argo CD's password: %w", err)
	}
	if err := atomicfile.Write(p.next(), []byte(password+"\n")); err != nil {
		return nil, fmt.Errorf("keep Argo CD's password: %w", err)
	}
	if err := set(password); err != nil {
		return nil, err
	}
	for pause := time.Second; ; pause *= 2 {
		api, err := Login(ctx, client, password)
		var refused *RefusedError
		if err == nil {
			return api, errors.Join(p.adopt(), deleteInitial(ctx, client))
		}
		if !errors.As(err, &refused) || pause > lastPause {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (p Passwords) adopt() error {
	if err := os.Rename(p.next(), p.current()); err != nil {
		return fmt.Errorf("keep Argo CD's password: %w", err)
	}
	return nil
}

const initialSecret = "argocd-initial-admin-secret" //nolint:gosec // the name of one

// initialPassword is the one that Argo CD made when it was installed; "" where it was rotated.
func initialPassword(ctx context.Context, client *kube.Client) (string, error) {
	secret, err := client.Core.CoreV1().Secrets(Namespace).Get(ctx, initialSecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read Argo CD's first password: %w", err)
	}
	return string(secret.Data["password"]), nil
}

func deleteInitial(ctx context.Context, client *kube.Client) error {
	err := client.Core.CoreV1().Secrets(Namespace).Delete(ctx, initialSecret, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Argo CD's first password: %w", err)
	}
	return nil
}
