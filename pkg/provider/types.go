package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// ResourceTypes gives the types of the provider's resources' attributes, as an object for each type of resource, so that
// wiring can be checked against them without terraform.
func ResourceTypes() (map[string]cty.Type, error) {
	ctx, out := context.Background(), map[string]cty.Type{}
	for _, newResource := range (&run{}).Resources(ctx) {
		r := newResource()
		var meta resource.MetadataResponse
		r.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: typeName}, &meta)
		var schema resource.SchemaResponse
		r.Schema(ctx, resource.SchemaRequest{}, &schema)
		attributes := map[string]cty.Type{}
		for name, a := range schema.Schema.Attributes {
			data, err := a.GetType().TerraformType(ctx).MarshalJSON() //nolint:staticcheck // the only way from one library's types to the other's
			if err != nil {
				return nil, fmt.Errorf("type of %s.%s: %w", meta.TypeName, name, err)
			}
			t, err := ctyjson.UnmarshalType(data)
			if err != nil {
				return nil, fmt.Errorf("type of %s.%s: %w", meta.TypeName, name, err)
			}
			attributes[name] = t
		}
		out[meta.TypeName] = cty.Object(attributes)
	}
	return out, nil
}
