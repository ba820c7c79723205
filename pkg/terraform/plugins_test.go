package terraform_test

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/secret"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
)

// tiny is a provider that terraform starts as a plugin: this test's own binary.
type tiny struct{}

func (tiny) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "tiny"
}
func (tiny) Schema(context.Context, provider.SchemaRequest, *provider.SchemaResponse)          {}
func (tiny) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {}
func (tiny) DataSources(context.Context) []func() datasource.DataSource                        { return nil }
func (tiny) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return thing{} }}
}

type thing struct{}

func (thing) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "tiny_thing"
}
func (thing) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{Attributes: map[string]schema.Attribute{"name": schema.StringAttribute{Required: true}}}
}
func (thing) Create(_ context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	resp.State.Raw = req.Plan.Raw
}
func (thing) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}
func (thing) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}
func (thing) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

// pluginCookie is set by terraform where it starts a provider (go-plugin's handshake).
const pluginCookie = "TF_PLUGIN_MAGIC_COOKIE"

func serveTiny() {
	err := providerserver.Serve(context.Background(), func() provider.Provider { return tiny{} }, providerserver.ServeOpts{Address: "example.test/test/tiny"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// mirror makes a mirror that holds the tiny provider as a registry would give it, packed, and gives a CLI configuration
// that names it.
func mirror(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	packed := filepath.Join(dir, "mirror/example.test/test/tiny", fmt.Sprintf("terraform-provider-tiny_1.0.0_%s_%s.zip", runtime.GOOS, runtime.GOARCH))
	require.NoError(t, os.MkdirAll(filepath.Dir(packed), 0o700))
	self, err := os.Executable()
	require.NoError(t, err)
	in, err := os.Open(self)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.Create(packed)
	require.NoError(t, err)
	w := zip.NewWriter(out)
	header := &zip.FileHeader{Name: "terraform-provider-tiny_v1.0.0", Method: zip.Store}
	header.SetMode(0o755)
	program, err := w.CreateHeader(header)
	require.NoError(t, err)
	_, err = io.Copy(program, in)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
	config := filepath.Join(dir, "cli.tfrc")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.Join(dir, "mirror")), 0o600))
	return config
}

// TestStacksShareOneProvider initialises many stacks at once, from two runners as the labctls of two labs have, into one cache.
func TestStacksShareOneProvider(t *testing.T) {
	config, dir, cache := mirror(t), t.TempDir(), filepath.Join(t.TempDir(), "cache", "plugins")
	state := func(i int) string { return filepath.Join(dir, fmt.Sprintf("state%d", i%2)) }
	runner := func(i int) *terraform.Runner {
		return terraform.New(terraform.Options{
			Dir:     state(i),
			Find:    func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
			Environ: append(os.Environ(), "TF_CLI_CONFIG_FILE="+config),
			Plugins: cache,
		})
	}
	runners := []*terraform.Runner{runner(0), runner(1)}
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		id := fmt.Sprintf("%d-test", i)
		source := filepath.Join(dir, "stacks", id)
		require.NoError(t, os.MkdirAll(source, 0o700))
		file := filepath.Join(source, "main.tf")
		require.NoError(t, os.WriteFile(file, []byte(`
terraform {
  required_providers {
    tiny = { source = "example.test/test/tiny" }
  }
}
variable "name" { type = string }
resource "tiny_thing" "this" { name = var.name }
output "name" { value = tiny_thing.this.name }
`), 0o600))
		group.Go(func() {
			_, errs[i] = runners[i%2].Apply(t.Context(), stack.RunRequest{
				Stack: &stack.Stack{ID: id, Dir: source, Real: source, Files: []string{file}}, Secrets: &secret.Set{},
				Path: func(p string) string { return p }, Inputs: map[string]cty.Value{"name": cty.StringVal(id)},
			}, nil)
		})
	}
	group.Wait()
	for i, err := range errs {
		require.NoError(t, err, "stack %d", i)
	}
	kept, err := filepath.Glob(filepath.Join(cache, "example.test/test/tiny/*/*/terraform-provider-tiny*"))
	require.NoError(t, err)
	require.Len(t, kept, 1, "one provider for all")
	for i := range errs {
		linked, err := filepath.EvalSymlinks(filepath.Join(terraform.WorkDir(state(i), fmt.Sprintf("%d-test", i)), ".terraform/providers/example.test/test/tiny/1.0.0", runtime.GOOS+"_"+runtime.GOARCH))
		require.NoError(t, err)
		want, err := filepath.EvalSymlinks(filepath.Dir(kept[0]))
		require.NoError(t, err)
		require.Equal(t, want, linked)
	}
}

// TestInitRunsWhereItHasTo changes what init depends on, and what it does not.
func TestInitRunsWhereItHasTo(t *testing.T) {
	config := mirror(t)
	b := newBench(t, map[string]string{"main.tf": "terraform {\n  required_providers {\n    tiny = { source = \"example.test/test/tiny\" }\n  }\n}\nresource \"tiny_thing\" \"this\" { name = \"a\" }\n"})
	runner := func() *terraform.Runner {
		return terraform.New(terraform.Options{
			Dir:     b.state(),
			Find:    func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
			Environ: append(os.Environ(), "TF_CLI_CONFIG_FILE="+config),
		})
	}
	inits := func() bool {
		var seen events
		_, err := runner().Apply(t.Context(), b.work(map[string]cty.Value{}), seen.report)
		require.NoError(t, err)
		return strings.Contains(seen.text(), "terraform init")
	}
	require.True(t, inits())
	require.False(t, inits(), "nothing changed")
	b.write(t, "more.tf", "resource \"terraform_data\" \"more\" {}\n")
	require.True(t, inits(), "a file is new")
	require.NoError(t, os.RemoveAll(filepath.Join(b.work3(), ".terraform")))
	require.True(t, inits(), "what init made is gone")
}
