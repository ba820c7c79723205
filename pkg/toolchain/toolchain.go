//go:build unix

// Package toolchain finds the Terraform that runs the stacks: one on PATH, else a checksummed download, else OpenTofu,
// built from the module that images/opentofu pins.
package toolchain

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hc-install/product"
	"github.com/hashicorp/hc-install/releases"
	"github.com/labctl/labctl/pkg/engine"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/filelock"
	"github.com/labctl/labctl/pkg/gobuild"
)

// What is used where nothing, or something too old, is on PATH.
const (
	MinVersion      = "1.5.0" // of Terraform; every OpenTofu is newer
	DownloadVersion = "1.12.2"
	tofuPackage     = "github.com/opentofu/opentofu/cmd/tofu"
	tofuLdflags     = "-X github.com/opentofu/opentofu/version.dev=no" // else it calls itself a development version
)

// Options are Terraform's.
type Options struct {
	CacheDir string // what was downloaded or built is kept here
	Root     string // the repository, for images/opentofu
	Engine   string // the only one that is wanted, "terraform" or "tofu"; "" for either

	ReleasesURL string        // a mirror of releases.hashicorp.com; by default that
	PublicKey   string        // armored, that signs the mirror's checksums; by default HashiCorp's
	Patience    time.Duration // for the server's answer, not for the download; by default 5 s
}

// Terraform returns the path of a terraform or tofu that works and is new enough.
func Terraform(ctx context.Context, o Options, report event.Report) (string, error) {
	if path := o.onPath(ctx, report); path != "" {
		return path, nil
	}
	tools := filepath.Join(o.CacheDir, "tools")
	lock, err := filelock.Wait(ctx, filepath.Join(tools, "lock"), func() { report.Doing("waiting for another labctl that gets terraform") })
	if err != nil {
		return "", fmt.Errorf("get terraform: %w", err)
	}
	defer lock.Unlock()

	downloaded := filepath.Join(tools, "terraform-"+DownloadVersion, "terraform")
	built, err := o.tofuPath(tools)
	if err != nil {
		return "", fmt.Errorf("get terraform: %w", err)
	}
	for _, kept := range []struct{ engine, path string }{{terraform, downloaded}, {tofu, built}} {
		if !o.wants(kept.engine) {
			continue
		}
		if _, err := o.version(ctx, kept.path); err == nil {
			return kept.path, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	missing := fmt.Errorf("%s is not on PATH", cmp.Or(o.Engine, terraform))
	if o.wants(terraform) {
		err := o.download(ctx, downloaded, report)
		if err == nil {
			return downloaded, nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("download terraform: %w", ctx.Err())
		}
		missing = fmt.Errorf("%w and could not be downloaded (%w)", missing, err)
	}
	if !o.wants(tofu) {
		return "", fmt.Errorf("%w. Install it (https://developer.hashicorp.com/terraform/install) and run the command again", missing)
	}
	report.Warn("%v; OpenTofu is built, which takes a few minutes", missing)
	if err := o.build(ctx, built, report); err != nil {
		return "", fmt.Errorf("%w, and OpenTofu could not be built: %w. "+
			"Install one (https://opentofu.org/docs/intro/install) and run the command again", missing, err)
	}
	return built, nil
}

// The engines.
const (
	terraform = "terraform"
	tofu      = "tofu"
)

func (o Options) wants(engine string) bool { return o.Engine == "" || o.Engine == engine }

// onPath returns the terraform or tofu on PATH, if it is wanted and new enough.
func (o Options) onPath(ctx context.Context, report event.Report) string {
	for _, name := range []string{terraform, tofu} {
		if !o.wants(name) {
			continue
		}
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil { // terraform-exec runs it in other directories
			continue
		}
		have, err := o.version(ctx, path)
		switch {
		case err != nil:
			report.Warn("%s on PATH does not work, so it is not used: %v", name, err)
		case have.LessThan(version.Must(version.NewVersion(MinVersion))):
			report.Warn("%s on PATH is %s, older than %s, so it is not used", name, have, MinVersion)
		default:
			return path
		}
	}
	return ""
}

// Engines remembers the versions of engines for all labs that share a cache.
func Engines(cacheDir string) engine.Memory {
	return engine.Memory(filepath.Join(cacheDir, "tools", "engines.json"))
}

// version gives the version of a program that works, or did when it was asked.
func (o Options) version(ctx context.Context, path string) (*version.Version, error) {
	number, _, err := Engines(o.CacheDir).Version(path, func() (string, error) {
		v, err := Version(ctx, path)
		if err != nil {
			return "", err
		}
		return v.String(), nil
	})
	if err != nil {
		return nil, err
	}
	return version.NewVersion(number)
}

// versionLimit bounds a program's answer about its version: it does nothing but print.
const versionLimit = 20 * time.Second

// Version runs the terraform or tofu at path to tell its version.
func Version(ctx context.Context, path string) (*version.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version", "-json") //nolint:gosec // a terraform
	// It must neither ask the network for a newer one nor start in a directory with a configuration.
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_LOG=", "TF_CLI_ARGS=", "TF_CLI_ARGS_version=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w %s", path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	var said struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return nil, fmt.Errorf("%s version: %w", path, err)
	}
	have, err := version.NewVersion(said.Version)
	if err != nil {
		return nil, fmt.Errorf("%s version: %w", path, err)
	}
	return have, nil
}

// download gets Terraform's release into path, checked against HashiCorp's signed checksums.
func (o Options) download(ctx context.Context, path string, report event.Report) error {
	report.Doing("looking for a download of terraform %s", DownloadVersion)
	dir := filepath.Dir(path)
	work, err := os.MkdirTemp(filepath.Dir(dir), ".download-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	patience := o.Patience
	if patience == 0 {
		patience = 5 * time.Second
	}
	release := &releases.ExactVersion{
		Product: product.Terraform, Version: version.Must(version.NewVersion(DownloadVersion)),
		InstallDir: work, ApiBaseURL: o.ReleasesURL, ArmoredPublicKey: o.PublicKey,
		Timeout: 30 * time.Minute, // for a slow line; one without an answer is left much sooner
		// Without the library's retries: there is another way, and each try would wait again.
		HTTPClient: &http.Client{Transport: &progress{report: report, to: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: patience}).DialContext,
			TLSHandshakeTimeout:   patience,
			ResponseHeaderTimeout: patience,
		}}},
	}
	var said logLines
	release.SetLogger(log.New(&said, "", 0))
	got, err := release.Install(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		// hc-install 0.10 loses the error of a wrong checksum or a cut connection: it unpacks nothing, and then misses the
		// program. What it logged tells the reason.
		return fmt.Errorf("the archive is cut short or not the one that was signed: %s", said.about("does not match", "failed to"))
	}
	if err != nil {
		return err
	}
	if _, err := Version(ctx, got); err != nil {
		return fmt.Errorf("the download does not run: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Chmod(work, 0o755); err != nil { //nolint:gosec // a program is no secret
		return err
	}
	return os.Rename(work, dir)
}

// logLines keeps what a logger writes, a call a line.
type logLines []string

func (l *logLines) Write(p []byte) (int, error) {
	*l = append(*l, strings.TrimSpace(string(p)))
	return len(p), nil
}

// about returns the first line that has one of the parts.
func (l *logLines) about(parts ...string) string {
	for _, line := range *l {
		for _, part := range parts {
			if strings.Contains(line, part) {
				return line
			}
		}
	}
	return "no reason was given"
}

// progress is a RoundTripper that reports the bytes of long answers.
type progress struct {
	to     http.RoundTripper
	report event.Report
}

func (p *progress) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := p.to.RoundTrip(r)
	if err == nil && response.ContentLength > 1<<20 {
		response.Body = &body{ReadCloser: response.Body, total: response.ContentLength, report: p.report}
	}
	return response, err
}

type body struct {
	io.ReadCloser
	done, total int64
	report      event.Report
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.done += int64(n)
	b.report.At(b.done, b.total, "downloading terraform %s", DownloadVersion)
	return n, err
}

// tofuPath is where the OpenTofu that images/opentofu describes is kept.
func (o Options) tofuPath(tools string) (string, error) {
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(o.module(), name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, _ = hash.Write(content)
	}
	return filepath.Join(tools, "opentofu-"+hex.EncodeToString(hash.Sum(nil)[:6]), "tofu"), nil
}

func (o Options) module() string { return filepath.Join(o.Root, "images", "opentofu") }

func (o Options) build(ctx context.Context, path string, report event.Report) error {
	err := gobuild.Build(ctx, gobuild.Options{
		Name: "OpenTofu", Dir: o.module(), Package: tofuPackage, Out: path, Ldflags: tofuLdflags,
		PrivateCache: true, CacheDir: o.CacheDir,
	}, report)
	if err != nil {
		return err
	}
	_, err = Version(ctx, path)
	return err
}
