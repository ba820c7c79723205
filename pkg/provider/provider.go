// Package provider is the `lab` Terraform provider: the laptop as a cloud. It is served in labctl's own process, so that
// the local stacks are honest Terraform with state, drift and destroy, and need no download.
package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// Address is the source under which stacks require the provider.
const Address = "labctl.local/labctl/lab"

// typeName begins the names of the provider's resources.
const typeName = "lab"

// ErrClusterGone is what Clusters.Read returns where there is no such cluster.
var ErrClusterGone = errors.New("the cluster does not exist")

// ErrForeignDir is what Clusters.Ensure and Clusters.Destroy return where the cluster's directory holds files of somebody
// else's. They have done nothing then.
var ErrForeignDir = errors.New("the cluster's directory belongs to somebody else")

// Clusters makes, looks at and removes clusters. All three may be called again after they were cut off at any point.
type Clusters interface {
	// Ensure makes the cluster, or repairs it, and returns once it is ready.
	Ensure(ctx context.Context, spec ClusterSpec, report event.Report) (ClusterInfo, error)
	// Read tells what there is. Its error is ErrClusterGone where there is nothing.
	Read(ctx context.Context, spec ClusterSpec) (ClusterInfo, error)
	// Destroy removes the cluster and whatever a cut-off Ensure left of it.
	Destroy(ctx context.Context, spec ClusterSpec, report event.Report) error
}

// ClusterSpec says which cluster is wanted.
type ClusterSpec struct {
	Kind           string `json:"kind"` // embedded, kind or kubeconfig
	Name           string `json:"name"`
	Dir            string `json:"dir"` // the cluster's own directory
	APIPort        int    `json:"api_port"`
	HTTPPort       int    `json:"http_port"`
	RegistryPort   int    `json:"registry_port"`
	Nodes          int    `json:"nodes"`                     // of an embedded cluster
	Egress         bool   `json:"egress"`                    // of an embedded cluster
	NodeImage      string `json:"node_image,omitempty"`      // of a cluster of kind
	KubeconfigPath string `json:"kubeconfig_path,omitempty"` // of the cluster to adopt
	RegistryPush   string `json:"registry_push,omitempty"`
	RegistryPull   string `json:"registry_pull,omitempty"`
}

// ClusterInfo is what a cluster offers.
type ClusterInfo struct {
	Kubeconfig        string // the content; sensitive
	RegistryPush      string
	RegistryPull      string
	URL               string
	IngressClass      string
	StorageClass      string
	KubernetesVersion string
	Healthy           bool
	Reason            string // why it is not healthy
}

// Options are what a Provider needs.
type Options struct {
	Clusters Clusters
	Dir      string // the environment's state directory
	// Now tells which certificates are due for renewal. Nil means time.Now.
	Now func() time.Time
}

// Provider serves the lab provider, once for each run of terraform.
type Provider struct{ options Options }

// New gives a Provider.
func New(o Options) *Provider {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Provider{options: o}
}

// CheckHealth says whether what st records is there and well, as far as that can be told without terraform: reason is why
// not, known is false where st holds resources of other providers.
func (p *Provider) CheckHealth(ctx context.Context, st *stack.State) (reason string, known bool, err error) {
	known = true
	for _, r := range st.Resources {
		switch {
		case r.Tainted:
			return r.Address + " is half made", true, nil
		case r.Type == "terraform_data":
		case r.Type == "lab_workspace":
			var a workspaceAttributes
			if err := json.Unmarshal(r.Attributes, &a); err != nil {
				return "", false, fmt.Errorf("read %s from the state: %w", r.Address, err)
			}
			if info, err := os.Stat(a.Path); err != nil || !info.IsDir() {
				return fmt.Sprintf("%s: the directory %s is gone", r.Address, a.Path), true, nil
			}
		case r.Type == "lab_certificates":
			var s certificateSet
			if err := json.Unmarshal(r.Attributes, &s); err != nil {
				return "", false, fmt.Errorf("read %s from the state: %w", r.Address, err)
			}
			if err := s.check(p.options.Now()); err != nil {
				return fmt.Sprintf("%s: %s", r.Address, err), true, nil
			}
		case r.Type == "lab_cluster":
			var spec ClusterSpec
			if err := json.Unmarshal(r.Attributes, &spec); err != nil {
				return "", false, fmt.Errorf("read %s from the state: %w", r.Address, err)
			}
			info, err := p.options.Clusters.Read(ctx, spec)
			switch {
			case errors.Is(err, ErrClusterGone):
				return r.Address + ": the cluster is gone", true, nil
			case err != nil:
				return "", false, fmt.Errorf("look at %s: %w", r.Address, err)
			case !info.Healthy:
				return r.Address + ": " + unhealthy(info), true, nil
			}
		default:
			known = false
		}
	}
	return "", known, nil
}

type workspaceAttributes struct {
	Path string `json:"path"`
}

func unhealthy(info ClusterInfo) string {
	if info.Reason == "" {
		return "the cluster does not run"
	}
	return info.Reason
}

// Sweep destroys the clusters that a cut-off apply had begun and that no state knows of.
func (p *Provider) Sweep(ctx context.Context, report event.Report) error {
	entries, err := os.ReadDir(p.records())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the clusters of this lab: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(p.records(), e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the record of a cluster: %w", err)
		}
		var spec ClusterSpec
		if err := json.Unmarshal(data, &spec); err != nil {
			return fmt.Errorf("read the record of a cluster %s: %w", path, err)
		}
		report.Doing("removing what is left of cluster %s", spec.Name)
		if err := p.options.Clusters.Destroy(ctx, spec, report); err != nil && !errors.Is(err, ErrClusterGone) {
			return fmt.Errorf("remove what is left of cluster %q: %w", spec.Name, err)
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("forget cluster %q: %w", spec.Name, err)
		}
	}
	return nil
}

// records is the directory with one file for each cluster that was begun, so that a cluster is known although labctl was
// killed before terraform could write its state.
func (p *Provider) records() string { return filepath.Join(p.options.Dir, "clusters") }

func (p *Provider) recordPath(spec ClusterSpec) string {
	sum := sha256.Sum256([]byte(spec.Kind + "\x00" + spec.Name + "\x00" + spec.Dir))
	return filepath.Join(p.records(), hex.EncodeToString(sum[:8])+".json")
}

func (p *Provider) recorded(spec ClusterSpec) bool {
	_, err := os.Stat(p.recordPath(spec))
	return err == nil
}

func (p *Provider) record(spec ClusterSpec) error {
	data, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return fmt.Errorf("record cluster %q: %w", spec.Name, err)
	}
	if err := os.MkdirAll(p.records(), 0o700); err != nil {
		return fmt.Errorf("record cluster %q: %w", spec.Name, err)
	}
	path := p.recordPath(spec)
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("record cluster %q: %w", spec.Name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("record cluster %q: %w", spec.Name, err)
	}
	return nil
}

func (p *Provider) forget(spec ClusterSpec) error {
	if err := os.Remove(p.recordPath(spec)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget cluster %q: %w", spec.Name, err)
	}
	return nil
}

// run is the provider as one run of terraform sees it. Each has its own report, so that runs do not mix.
type run struct {
	provider *Provider
	report   event.Report
}

var _ provider.Provider = (*run)(nil)

func (r *run) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = typeName
}

func (r *run) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{Description: "What a lab needs of the machine that it runs on. Served by labctl itself."}
}

func (r *run) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {}

func (r *run) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (r *run) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &workspace{} },
		func() resource.Resource { return &cluster{run: r} },
		func() resource.Resource { return &certificates{run: r} },
	}
}
