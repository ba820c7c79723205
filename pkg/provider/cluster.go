package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// cluster is a Kubernetes cluster. A cluster that does not run shows as healthy = false where true is wanted, so that
// terraform sees drift and the next apply repairs it in place.
type cluster struct{ run *run }

type clusterModel struct {
	Kind           types.String `tfsdk:"kind"`
	Name           types.String `tfsdk:"name"`
	Dir            types.String `tfsdk:"dir"`
	APIPort        types.Int64  `tfsdk:"api_port"`
	HTTPPort       types.Int64  `tfsdk:"http_port"`
	RegistryPort   types.Int64  `tfsdk:"registry_port"`
	Nodes          types.Int64  `tfsdk:"nodes"`
	Egress         types.Bool   `tfsdk:"egress"`
	NodeImage      types.String `tfsdk:"node_image"`
	KubeconfigPath types.String `tfsdk:"kubeconfig_path"`
	RegistryPush   types.String `tfsdk:"registry_push"`
	RegistryPull   types.String `tfsdk:"registry_pull"`

	Kubeconfig        types.String `tfsdk:"kubeconfig"`
	Registry          types.Object `tfsdk:"registry"`
	URL               types.String `tfsdk:"url"`
	IngressClass      types.String `tfsdk:"ingress_class"`
	StorageClass      types.String `tfsdk:"storage_class"`
	KubernetesVersion types.String `tfsdk:"kubernetes_version"`
	Healthy           types.Bool   `tfsdk:"healthy"`
	Reason            types.String `tfsdk:"reason"`
}

var registryType = map[string]attr.Type{"push": types.StringType, "pull": types.StringType}

func (m *clusterModel) spec() ClusterSpec {
	return ClusterSpec{
		Kind: m.Kind.ValueString(), Name: m.Name.ValueString(), Dir: m.Dir.ValueString(),
		APIPort: int(m.APIPort.ValueInt64()), HTTPPort: int(m.HTTPPort.ValueInt64()), RegistryPort: int(m.RegistryPort.ValueInt64()),
		Nodes: int(m.Nodes.ValueInt64()), Egress: m.Egress.ValueBool(), NodeImage: m.NodeImage.ValueString(), KubeconfigPath: m.KubeconfigPath.ValueString(), RegistryPush: m.RegistryPush.ValueString(), RegistryPull: m.RegistryPull.ValueString(),
	}
}

// take sets what the provider computes.
func (m *clusterModel) take(info ClusterInfo) diag.Diagnostics {
	registry, diags := types.ObjectValue(registryType, map[string]attr.Value{
		"push": types.StringValue(info.RegistryPush), "pull": types.StringValue(info.RegistryPull),
	})
	m.Kubeconfig, m.Registry = types.StringValue(info.Kubeconfig), registry
	m.URL, m.IngressClass, m.StorageClass = types.StringValue(info.URL), types.StringValue(info.IngressClass), types.StringValue(info.StorageClass)
	m.KubernetesVersion = types.StringValue(info.KubernetesVersion)
	m.Healthy, m.Reason = types.BoolValue(info.Healthy), types.StringValue(info.Reason)
	return diags
}

func (c *cluster) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_cluster"
}

func (c *cluster) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, Description: description, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()}}
	}
	port := func(description string) schema.Int64Attribute {
		// Changed in place: the node is started again with it, and keeps its data. Only the ports of kind's node are those
		// of a container, which cannot be changed.
		return schema.Int64Attribute{Optional: true, Description: description, PlanModifiers: []planmodifier.Int64{int64planmodifier.RequiresReplaceIf(
			func(ctx context.Context, req planmodifier.Int64Request, resp *int64planmodifier.RequiresReplaceIfFuncResponse) {
				var kind types.String
				resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("kind"), &kind)...)
				resp.RequiresReplace = kind.ValueString() == "kind"
			}, "A cluster of kind is made anew for another port.", "A cluster of kind is made anew for another port.")}}
	}
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, Description: description}
	}
	name, dir, kind := text("Name of the cluster, unique on the machine."), text("The cluster's own directory."), text("embedded (a node on this machine), kind (a node that is a container) or kubeconfig (adopt an existing cluster).")
	name.Optional, name.Required = false, true
	dir.Optional, dir.Required = false, true
	kind.Computed, kind.Default = true, stringdefault.StaticString("embedded")
	kubeconfig := computed("Content of a kubeconfig with full rights.")
	kubeconfig.Sensitive = true
	reason := computed("Why the cluster is not healthy.")
	reason.Default = stringdefault.StaticString("")
	resp.Schema = schema.Schema{
		Description: "A Kubernetes cluster with a registry, a default storage class and an ingress controller.",
		Attributes: map[string]schema.Attribute{
			"kind":          kind,
			"name":          name,
			"dir":           dir,
			"api_port":      port("Port of the Kubernetes API on the loopback address."),
			"http_port":     port("Port of the ingress on the loopback address."),
			"registry_port": port("Port of the image registry on the loopback address."),
			"nodes": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(1), Description: "embedded: how many nodes the cluster has. Changed in place: the nodes start again.",
			},
			"egress":             schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(true), Description: "embedded: whether pods and image pulls reach what the machine reaches."},
			"node_image":         text("kind: the node's image, where it is not kind's own."),
			"kubeconfig_path":    text("kubeconfig: path of the kubeconfig of the cluster to adopt."),
			"registry_push":      text("kubeconfig: where images are pushed to, such as 127.0.0.1:5000."),
			"registry_pull":      text("kubeconfig: where the cluster pulls them from."),
			"kubeconfig":         kubeconfig,
			"registry":           schema.ObjectAttribute{Computed: true, AttributeTypes: registryType, Description: "Where images are pushed to and pulled from."},
			"url":                computed("Address of the ingress."),
			"ingress_class":      computed("Name of the ingress class."),
			"storage_class":      computed("Name of the default storage class."),
			"kubernetes_version": computed("Version of Kubernetes that runs."),
			"healthy":            schema.BoolAttribute{Computed: true, Default: booldefault.StaticBool(true), Description: "Whether the cluster runs."},
			"reason":             reason,
		},
	}
}

func (c *cluster) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m clusterModel
	if resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	// Nothing is put into the state when Ensure fails: the next apply calls it again, which resumes. A state would make
	// terraform taint the cluster and build it anew. What `down` needs to know of a half-made cluster is in the record.
	if resp.Diagnostics.Append(c.ensure(ctx, &m)...); !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	}
}

func (c *cluster) ensure(ctx context.Context, m *clusterModel) (diags diag.Diagnostics) {
	spec := m.spec()
	recorded := c.run.provider.recorded(spec)
	if err := c.run.provider.record(spec); err != nil {
		diags.AddError("The cluster cannot be recorded", err.Error())
		return diags
	}
	info, err := c.run.provider.options.Clusters.Ensure(ctx, spec, c.run.report)
	if errors.Is(err, ErrForeignDir) && !recorded {
		// Nothing was made, so nothing is left to remove: a record would make every `down` fail on the same directory.
		if err := c.run.provider.forget(spec); err != nil {
			diags.AddError("The cluster's record cannot be removed", err.Error())
		}
	}
	if err != nil {
		diags.AddError(fmt.Sprintf("Cluster %q did not come up", spec.Name), err.Error())
		return diags
	}
	if !info.Healthy {
		diags.AddError(fmt.Sprintf("Cluster %q is not healthy", spec.Name), unhealthy(info))
		return diags
	}
	info.Reason = "" // planned so
	return m.take(info)
}

func (c *cluster) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m clusterModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	spec := m.spec()
	info, err := c.run.provider.options.Clusters.Read(ctx, spec)
	switch {
	case errors.Is(err, ErrClusterGone):
		resp.State.RemoveResource(ctx)
		return
	case err != nil:
		resp.Diagnostics.AddError(fmt.Sprintf("Cluster %q cannot be looked at", spec.Name), err.Error())
		return
	case info.Healthy:
		info.Reason = ""
		resp.Diagnostics.Append(m.take(info)...)
	default: // a cluster that does not run cannot tell about itself: keep what was known
		m.Healthy, m.Reason = types.BoolValue(false), types.StringValue(unhealthy(info))
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (c *cluster) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m clusterModel
	if resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	if resp.Diagnostics.Append(c.ensure(ctx, &m)...); !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	}
}

func (c *cluster) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m clusterModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	spec := m.spec()
	if err := c.run.provider.options.Clusters.Destroy(ctx, spec, c.run.report); err != nil && !errors.Is(err, ErrClusterGone) {
		resp.Diagnostics.AddError(fmt.Sprintf("Cluster %q cannot be removed", spec.Name), err.Error())
		return
	}
	if err := c.run.provider.forget(spec); err != nil {
		resp.Diagnostics.AddError("The cluster's record cannot be removed", err.Error())
	}
}
