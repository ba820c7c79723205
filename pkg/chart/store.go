package chart

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/repo"

	"github.com/labctl/labctl/pkg/event"
)

// Source says where a release's chart comes from.
type Source struct {
	Release    string // its name, under which its chart is pinned
	Chart      string // an absolute directory or archive, "oci://…", or a name in Repository
	Repository string // the URL of a chart repository, or ""
	Version    string // a constraint; "" means the newest version that is no pre-release
	LockFile   string // where its chart is pinned
}

// isRemote says whether the chart has to be fetched.
func (s Source) isRemote() bool { return s.Repository != "" || registry.IsOCI(s.Chart) }

// String gives the chart as people write it.
func (s Source) String() string {
	if s.Repository != "" {
		return s.Repository + "/" + s.Chart
	}
	return s.Chart
}

// ErrNotFetched says that a chart is not in the cache, and that fetching it was not asked for.
var ErrNotFetched = errors.New("the chart was not fetched yet")

// PinError says that a chart is pinned to a version which stack.hcl does not allow any more.
type PinError struct {
	Chart, Pinned, Constraint string
	LockFile, Block           string // what to remove
}

func (e *PinError) Error() string {
	return fmt.Sprintf("chart %s is pinned to version %s, but the version that is wanted is %q: to pin it anew, remove the block %s from %s, then type `labctl plan`",
		e.Chart, e.Pinned, e.Constraint, e.Block, e.LockFile)
}

// FetchError says that a chart could not be fetched.
type FetchError struct {
	Chart, Version string
	Err            error
}

func (e *FetchError) Error() string {
	return strings.TrimSuffix("fetch "+e.Chart+" "+e.Version, " ") + ": " + e.Err.Error()
}

func (e *FetchError) Unwrap() error { return e.Err }

// DigestError says that what a source gives is not what was pinned.
type DigestError struct{ Chart, Version, Want, Got string }

func (e *DigestError) Error() string {
	return fmt.Sprintf("version %s of chart %s is not the one that was pinned: its digest should be %s, and is %s. Somebody published another archive under the same version",
		e.Version, e.Chart, e.Want, e.Got)
}

// Store finds charts: in the lab's source, in chart repositories and in OCI registries. What it fetches it keeps by
// digest, so that a pinned chart that was fetched once needs no network. It is safe for concurrent use.
type Store struct {
	Dir     string // of the cache; made where it is missing
	Offline bool   // fetch nothing: what is not in the cache is an ErrNotFetched. Lock files are not written either

	mu sync.Mutex
}

// Locate gives the absolute path of a chart, a directory or an archive, with all that it depends on. A chart that is
// not pinned yet is resolved to the newest version that its constraint allows, and pinned in the lock file.
func (s *Store) Locate(ctx context.Context, src Source, report event.Report) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := s.locate(ctx, src, report)
	if err != nil {
		return "", fmt.Errorf("chart of release %q: %w", src.Release, err)
	}
	return path, nil
}

func (s *Store) locate(ctx context.Context, src Source, report event.Report) (string, error) {
	locked, err := readLock(src.LockFile)
	if err != nil {
		return "", err
	}
	pinned := locked.release(src.Release)
	var now lockedRelease
	var path string
	if src.isRemote() {
		want := origin{chart: src.Chart, repository: src.Repository, constraint: src.Version}
		have := pin{Chart: pinned.Chart, Repository: pinned.Repository, Version: pinned.Version, Digest: pinned.Digest}
		got, file, err := s.obtain(ctx, want, have, src.LockFile, fmt.Sprintf("release %q", src.Release), report)
		if err != nil {
			return "", err
		}
		now, path = lockedRelease{Name: src.Release, Chart: got.Chart, Repository: got.Repository, Version: got.Version, Digest: got.Digest}, file
	} else {
		now = lockedRelease{Name: src.Release}
		if path, now.Dependencies, err = s.complete(ctx, src, pinned.Dependencies, report); err != nil {
			return "", err
		}
	}
	if s.Offline || !locked.set(now) {
		return path, nil
	}
	return path, locked.write(src.LockFile)
}

// origin is a chart that is looked for.
type origin struct{ chart, repository, constraint string }

func (o origin) String() string { return Source{Chart: o.chart, Repository: o.repository}.String() }

// name is the chart's own name.
func (o origin) name() string { return o.chart[strings.LastIndex(o.chart, "/")+1:] }

// pin is a chart that was found.
type pin struct{ Chart, Repository, Version, Digest string }

// obtain gives the archive of a chart by its pin, or finds the chart and pins it.
func (s *Store) obtain(ctx context.Context, want origin, have pin, lockFile, block string, report event.Report) (pin, string, error) {
	if have.Chart == want.chart && have.Repository == want.repository && have.Version != "" {
		if !allows(want.constraint, have.Version) {
			return pin{}, "", &PinError{Chart: want.String(), Pinned: have.Version, Constraint: want.constraint, LockFile: lockFile, Block: block}
		}
		path, err := s.archive(have.Digest)
		if err == nil {
			return have, path, nil
		}
		if s.Offline {
			return pin{}, "", fmt.Errorf("%w: %s %s (`labctl plan` fetches it)", ErrNotFetched, want, have.Version)
		}
		report.Doing("fetch chart %s %s", want, have.Version)
		data, _, err := s.fetch(ctx, want, have.Version)
		if err != nil {
			return pin{}, "", &FetchError{Chart: want.String(), Version: have.Version, Err: err}
		}
		if got := digest(data); got != have.Digest {
			return pin{}, "", &DigestError{Chart: want.String(), Version: have.Version, Want: have.Digest, Got: got}
		}
		path, err = s.keep(data)
		return have, path, err
	}
	if s.Offline {
		return pin{}, "", fmt.Errorf("%w: %s (`labctl plan` finds its version and pins it in %s)", ErrNotFetched, want, filepath.Base(lockFile))
	}
	report.Doing("find chart %s %s", want, want.constraint)
	data, version, err := s.fetch(ctx, want, want.constraint)
	if err != nil {
		return pin{}, "", &FetchError{Chart: want.String(), Version: want.constraint, Err: err}
	}
	path, err := s.keep(data)
	return pin{Chart: want.chart, Repository: want.repository, Version: version, Digest: digest(data)}, path, err
}

// allows says whether a version is within a constraint; one that is named outright always is.
func allows(constraint, version string) bool {
	if constraint == "" || constraint == version {
		return true
	}
	c, err := semver.NewConstraint(constraint)
	if err != nil {
		return false
	}
	v, err := semver.NewVersion(version)
	return err == nil && c.Check(v)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (s *Store) path(digest string) (string, error) {
	algorithm, hash, _ := strings.Cut(digest, ":")
	if b, err := hex.DecodeString(hash); algorithm != "sha256" || err != nil || len(b) != sha256.Size {
		return "", fmt.Errorf("%q is no digest", digest)
	}
	return filepath.Join(s.Dir, algorithm, hash+".tgz"), nil
}

// archive gives the path of an archive in the cache. One that is not what its name says counts as missing.
func (s *Store) archive(want string) (string, error) {
	path, err := s.path(want)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if got := digest(data); got != want {
		return "", &DigestError{Chart: path, Want: want, Got: got}
	}
	return path, nil
}

func (s *Store) keep(data []byte) (string, error) {
	path, err := s.path(digest(data))
	if err != nil {
		return "", err
	}
	return path, writeWhole(path, data)
}

// writeWhole writes a file so that nobody sees half of it.
func writeWhole(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // charts and pins are public
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone where all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// fetch downloads the newest version of a chart that a constraint allows.
func (s *Store) fetch(ctx context.Context, want origin, constraint string) (data []byte, version string, err error) {
	client := &http.Client{Transport: &bound{ctx: ctx, next: &plainLoopback{next: registry.NewTransport(false)}}}
	if registry.IsOCI(want.chart) {
		data, version, err = fetchOCI(client, want.chart, constraint)
	} else {
		data, version, err = fetchHTTP(client, want, constraint)
	}
	if err != nil {
		return nil, "", err
	}
	ch, err := loader.LoadArchive(bytes.NewReader(data))
	if err != nil {
		return nil, "", fmt.Errorf("read the archive: %w", err)
	}
	if ch.Name() != want.name() || ch.Metadata.Version != version {
		return nil, "", fmt.Errorf("the archive is of chart %s %s, not of %s %s", ch.Name(), ch.Metadata.Version, want.name(), version)
	}
	return data, version, nil
}

func fetchOCI(client *http.Client, chart, constraint string) ([]byte, string, error) {
	c, err := registry.NewClient(registry.ClientOptHTTPClient(client), registry.ClientOptWriter(io.Discard))
	if err != nil {
		return nil, "", err
	}
	ref := strings.TrimPrefix(chart, "oci://")
	version := constraint
	if _, err := semver.StrictNewVersion(constraint); err != nil {
		tags, err := c.Tags(ref)
		if err != nil {
			return nil, "", fmt.Errorf("list the versions: %w", err)
		}
		if version, err = registry.GetTagMatchingVersionOrConstraint(tags, constraint); err != nil {
			return nil, "", fmt.Errorf("no version fits: %w", err)
		}
	}
	result, err := c.Pull(ref + ":" + version)
	if err != nil {
		return nil, "", err
	}
	return result.Chart.Data, version, nil
}

// archiveLimit is how large an archive may be; what a cluster can store is far less.
const archiveLimit = 100 << 20

func fetchHTTP(client *http.Client, want origin, constraint string) ([]byte, string, error) {
	data, err := get(client, want.repository+"/index.yaml")
	if err != nil {
		return nil, "", fmt.Errorf("read the repository's index: %w", err)
	}
	index, err := parseIndex(data)
	if err != nil {
		return nil, "", fmt.Errorf("read the repository's index: %w", err)
	}
	found, err := index.Get(want.chart, constraint)
	if err != nil {
		return nil, "", fmt.Errorf("no version fits: %w", err)
	}
	if len(found.URLs) == 0 {
		return nil, "", fmt.Errorf("the repository has no address for version %s", found.Version)
	}
	if registry.IsOCI(found.URLs[0]) {
		ref := found.URLs[0]
		return fetchOCI(client, strings.TrimSuffix(ref, ":"+found.Version), found.Version)
	}
	address, err := repo.ResolveReferenceURL(want.repository, found.URLs[0])
	if err != nil {
		return nil, "", err
	}
	if data, err = get(client, address); err != nil {
		return nil, "", err
	}
	if got := digest(data); found.Digest != "" && strings.TrimPrefix(found.Digest, "sha256:") != strings.TrimPrefix(got, "sha256:") {
		return nil, "", fmt.Errorf("the archive is not the one of the repository's index: its digest should be sha256:%s, and is %s", strings.TrimPrefix(found.Digest, "sha256:"), got)
	}
	return data, found.Version, nil
}

// parseIndex reads an index.yaml. Helm reads one only from a file.
func parseIndex(data []byte) (*repo.IndexFile, error) {
	f, err := os.CreateTemp("", "labctl-index-*.yaml")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // a temporary file
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return repo.LoadIndexFile(f.Name())
}

func get(client *http.Client, address string) ([]byte, error) {
	resp, err := client.Get(address) //nolint:noctx // the transport has it
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", resp.Request.URL.Redacted(), resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, archiveLimit+1))
	if err != nil {
		return nil, err
	}
	if len(data) > archiveLimit {
		return nil, fmt.Errorf("%s is larger than %d MiB", resp.Request.URL.Redacted(), archiveLimit>>20)
	}
	return data, nil
}

// plainLoopback speaks HTTP without TLS to a registry of this machine that does not know TLS, as Docker and containerd
// do: such is the lab's own.
type plainLoopback struct{ next http.RoundTripper }

func (p *plainLoopback) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(req)
	var notTLS tls.RecordHeaderError
	if !errors.As(err, &notTLS) || string(notTLS.RecordHeader[:]) != "HTTP/" || !isLoopback(req.URL.Hostname()) {
		return resp, err
	}
	req = req.Clone(req.Context())
	req.URL.Scheme = "http"
	return p.next.RoundTrip(req)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
