package provider

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// ownMark is a file in a workspace's directory which says that the provider made it, and may remove it.
const ownMark = ".lab-workspace"

// workspace is a directory of the lab's own.
type workspace struct{}

type workspaceModel struct {
	Path types.String `tfsdk:"path"`
}

func (w *workspace) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_workspace"
}

func (w *workspace) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		Description: "A directory that only its owner can enter. Destroying it removes it unless somebody put files there.",
		Attributes: map[string]schema.Attribute{
			"path": schema.StringAttribute{
				Required: true, Description: "Absolute path of the directory.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
		},
	}
}

func (w *workspace) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m workspaceModel
	if resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	if err := makeWorkspace(m.Path.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("path"), "The workspace cannot be made", err.Error())
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func makeWorkspace(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("%s is not an absolute path", dir)
	}
	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if !fresh { // somebody else's directory, or our own after a crash: only the mark tells, and it is not added now
		return nil
	}
	return os.WriteFile(filepath.Join(dir, ownMark), nil, 0o600)
}

func (w *workspace) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m workspaceModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	if info, err := os.Stat(m.Path.ValueString()); err != nil || !info.IsDir() {
		resp.State.RemoveResource(ctx)
	}
}

// Update is never called: the only attribute replaces the resource.
func (w *workspace) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

func (w *workspace) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m workspaceModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	note, err := removeWorkspace(m.Path.ValueString())
	if err != nil {
		resp.Diagnostics.AddError("The workspace cannot be removed", err.Error())
	} else if note != "" {
		resp.Diagnostics.AddWarning("The workspace stays", note)
	}
}

// removeWorkspace removes what makeWorkspace made, and says what else there is where it must stay.
func removeWorkspace(dir string) (note string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var foreign []string
	mine := false
	for _, e := range entries {
		if e.Name() == ownMark {
			mine = true
		} else {
			foreign = append(foreign, e.Name())
		}
	}
	switch {
	case !mine:
		return dir + " was there before the lab", nil
	case len(foreign) > 0:
		return fmt.Sprintf("%s holds files that the lab did not make: %s", dir, strings.Join(foreign, ", ")), nil
	}
	if err := os.Remove(filepath.Join(dir, ownMark)); err != nil {
		return "", err
	}
	return "", os.Remove(dir)
}
