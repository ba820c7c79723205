package provider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/labctl/labctl/pkg/certificate"
)

// certificates are a certificate authority and the certificates of some servers, kept in the state. One that is due for renewal
// shows as current = false where true is wanted, so that terraform sees drift and the next apply renews it in place.
type certificates struct{ run *run }

type certificatesModel struct {
	Name    types.String        `tfsdk:"name"`
	Servers map[string][]string `tfsdk:"servers"`

	AuthorityCertificate types.String `tfsdk:"ca_certificate"`
	AuthorityKey         types.String `tfsdk:"ca_key"`
	Certificates         types.Map    `tfsdk:"certificates"`
	Keys                 types.Map    `tfsdk:"keys"`
	Current              types.Bool   `tfsdk:"current"`
}

// certificateSet is what such a resource has in its state.
type certificateSet struct {
	Servers              map[string][]string `json:"servers"`
	AuthorityCertificate string              `json:"ca_certificate"`
	AuthorityKey         string              `json:"ca_key"`
	Certificates         map[string]string   `json:"certificates"`
	Keys                 map[string]string   `json:"keys"`
}

func (s *certificateSet) authority() certificate.Pair {
	return certificate.Pair{Certificate: s.AuthorityCertificate, Key: s.AuthorityKey}
}

func (s *certificateSet) server(name string) certificate.Pair {
	return certificate.Pair{Certificate: s.Certificates[name], Key: s.Keys[name]}
}

// check says what is to be renewed, and why, or nil.
func (s *certificateSet) check(now time.Time) error {
	if err := s.authority().CheckAuthority(now); err != nil {
		return fmt.Errorf("the certificate of the authority: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Servers)) {
		if err := s.authority().CheckServer(s.server(name), s.Servers[name], now); err != nil {
			return fmt.Errorf("the certificate of %s: %w", name, err)
		}
	}
	return nil
}

// renew makes what is missing or due for renewal. A new authority gives every server a new certificate.
func (s *certificateSet) renew(name string, now time.Time) error {
	if s.authority().CheckAuthority(now) != nil {
		made, err := certificate.NewAuthority(name, now)
		if err != nil {
			return err
		}
		s.AuthorityCertificate, s.AuthorityKey = made.Certificate, made.Key
	}
	pairs := map[string]certificate.Pair{}
	for server, hosts := range s.Servers {
		pairs[server] = s.server(server)
		if s.authority().CheckServer(pairs[server], hosts, now) == nil {
			continue
		}
		made, err := s.authority().Issue(hosts, now)
		if err != nil {
			return fmt.Errorf("server %s: %w", server, err)
		}
		pairs[server] = made
	}
	s.Certificates, s.Keys = map[string]string{}, map[string]string{}
	for server, pair := range pairs {
		s.Certificates[server], s.Keys[server] = pair.Certificate, pair.Key
	}
	return nil
}

// set gives what the model has in the state.
func (m *certificatesModel) set(ctx context.Context) (*certificateSet, diag.Diagnostics) {
	s := &certificateSet{Servers: m.Servers, AuthorityCertificate: m.AuthorityCertificate.ValueString(), AuthorityKey: m.AuthorityKey.ValueString()}
	diags := m.Certificates.ElementsAs(ctx, &s.Certificates, false)
	diags.Append(m.Keys.ElementsAs(ctx, &s.Keys, false)...)
	return s, diags
}

// take sets what the provider computes.
func (m *certificatesModel) take(ctx context.Context, s *certificateSet) (diags diag.Diagnostics) {
	m.AuthorityCertificate, m.AuthorityKey = types.StringValue(s.AuthorityCertificate), types.StringValue(s.AuthorityKey)
	var d diag.Diagnostics
	m.Certificates, d = types.MapValueFrom(ctx, types.StringType, s.Certificates)
	diags.Append(d...)
	m.Keys, d = types.MapValueFrom(ctx, types.StringType, s.Keys)
	diags.Append(d...)
	m.Current = types.BoolValue(true)
	return diags
}

func (c *certificates) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_certificates"
}

func (c *certificates) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		Description: "A certificate authority and the certificates of servers. They are made once, kept in the state, and renewed when less than a third of their time is left.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required: true, Description: "Name of the authority. Another one makes everything anew.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"servers": schema.MapAttribute{
				Required: true, ElementType: types.ListType{ElemType: types.StringType}, Description: "DNS names of each server, by which its clients know it.",
			},
			"ca_certificate": schema.StringAttribute{Computed: true, Description: "Certificate of the authority, which clients trust: PEM, valid for ten years."},
			"ca_key":         schema.StringAttribute{Computed: true, Sensitive: true, Description: "Private key of the authority."},
			"certificates":   schema.MapAttribute{Computed: true, ElementType: types.StringType, Description: "Certificate of each server: PEM, valid for a year."},
			"keys":           schema.MapAttribute{Computed: true, Sensitive: true, ElementType: types.StringType, Description: "Private key of each server."},
			"current":        schema.BoolAttribute{Computed: true, Default: booldefault.StaticBool(true), Description: "Whether nothing is due for renewal."},
		},
	}
}

func (c *certificates) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m certificatesModel
	if resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	if resp.Diagnostics.Append(c.renew(ctx, &m, &certificateSet{Servers: m.Servers})...); !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	}
}

func (c *certificates) renew(ctx context.Context, m *certificatesModel, s *certificateSet) (diags diag.Diagnostics) {
	if err := s.renew(m.Name.ValueString(), c.run.provider.options.Now()); err != nil {
		diags.AddError("The certificates cannot be made", err.Error())
		return diags
	}
	return m.take(ctx, s)
}

func (c *certificates) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m certificatesModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	s, diags := m.set(ctx)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	m.Current = types.BoolValue(s.check(c.run.provider.options.Now()) == nil)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (c *certificates) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, before certificatesModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.Append(req.State.Get(ctx, &before)...); resp.Diagnostics.HasError() {
		return
	}
	s, diags := before.set(ctx)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	s.Servers = m.Servers
	if resp.Diagnostics.Append(c.renew(ctx, &m, s)...); !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	}
}

// Delete has nothing to remove beside the state.
func (c *certificates) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}
