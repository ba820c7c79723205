package terraform

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"
	vmsgpack "github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/labctl/labctl/pkg/stack"
)

// planned is what labctl reads of a plan.
type planned struct {
	outputs map[string]cty.Value // as they will be: unknown where only the apply tells, sensitive ones marked
	unknown map[string][]string  // address of a managed resource → its attributes of which anything is unknown
}

// readPlan reads a plan. The file says it all, with every number as it is, and a start of terraform costs as much as an apply of a
// small stack: so labctl reads the file, and asks terraform only where it does not understand it (one that is encrypted, or of a later
// format).
func (s *session) readPlan(ctx context.Context, path string) (*planned, error) {
	p, err := parsePlan(path)
	if err == nil {
		return p, nil
	}
	s.log.line("the plan's file is not understood (" + err.Error() + "); terraform is asked")
	return s.showPlan(ctx, path)
}

// A plan's file is a zip archive with a Protocol Buffers message in tfplan. Numbers of fields are those of planfile.proto, the same in
// Terraform since 0.12 and in OpenTofu.
const (
	planVersion = 3 // of the format

	fieldVersion         = 1
	fieldResourceChanges = 3
	fieldOutputChanges   = 4

	fieldOutputName      = 1
	fieldOutputChange    = 2
	fieldOutputSensitive = 3

	fieldResourceChange  = 9
	fieldResourceAddress = 13
	fieldResourceDeposed = 7

	fieldChangeAction = 1
	fieldChangeValues = 2
	fieldValueMsgpack = 1
)

// actionDelete is the one action whose only value is that before (planfile.proto, Action).
const actionDelete = 5

var errNotAPlan = errors.New("it is not a plan of a known format")

func parsePlan(path string) (*planned, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotAPlan, err)
	}
	defer archive.Close() //nolint:errcheck // opened to read
	f, err := archive.Open("tfplan")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotAPlan, err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotAPlan, err)
	}
	p := &planned{outputs: map[string]cty.Value{}, unknown: map[string][]string{}}
	version := uint64(0)
	err = eachField(data, func(field protowire.Number, number uint64, content []byte) error {
		switch field {
		case fieldVersion:
			version = number
		case fieldOutputChanges:
			return p.output(content)
		case fieldResourceChanges:
			return p.resource(content)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotAPlan, err)
	}
	if version != planVersion {
		return nil, fmt.Errorf("%w: version %d", errNotAPlan, version)
	}
	return p, nil
}

// eachField goes through a message. Content is nil for a number, and number 0 for content.
func eachField(data []byte, do func(field protowire.Number, number uint64, content []byte) error) error {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var number uint64
		var content []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(field, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if err := do(field, number, content); err != nil {
			return err
		}
	}
	return nil
}

func (p *planned) output(data []byte) error {
	name, sensitive := "", false
	var change []byte
	err := eachField(data, func(field protowire.Number, number uint64, content []byte) error {
		switch field {
		case fieldOutputName:
			name = string(content)
		case fieldOutputSensitive:
			sensitive = number != 0
		case fieldOutputChange:
			change = content
		}
		return nil
	})
	if err != nil {
		return err
	}
	packed, err := after(change)
	if err != nil {
		return fmt.Errorf("output %q: %w", name, err)
	}
	if packed == nil { // it goes
		return nil
	}
	value, err := msgpack.Unmarshal(packed, cty.DynamicPseudoType)
	if err != nil {
		return fmt.Errorf("output %q: %w", name, err)
	}
	if sensitive {
		value = value.Mark(stack.Sensitive)
	}
	p.outputs[name] = value
	return nil
}

func (p *planned) resource(data []byte) error {
	var address, deposed string
	var change []byte
	err := eachField(data, func(field protowire.Number, _ uint64, content []byte) error {
		switch field {
		case fieldResourceAddress:
			address = string(content)
		case fieldResourceDeposed:
			deposed = string(content)
		case fieldResourceChange:
			change = content
		}
		return nil
	})
	if err != nil || deposed != "" {
		return err
	}
	packed, err := after(change)
	if err == nil && packed != nil {
		p.unknown[address], err = unknownAttributes(packed)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return nil
}

// after gives the packed value that a change leads to, or nil where that is nothing.
func after(change []byte) ([]byte, error) {
	action := uint64(0)
	var values [][]byte
	err := eachField(change, func(field protowire.Number, number uint64, content []byte) error {
		switch field {
		case fieldChangeAction:
			action = number
		case fieldChangeValues:
			return eachField(content, func(field protowire.Number, _ uint64, packed []byte) error {
				if field == fieldValueMsgpack {
					values = append(values, packed)
				}
				return nil
			})
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case action == actionDelete:
		return nil, nil
	case len(values) == 1: // before is nothing, or the same
		return values[0], nil
	case len(values) == 2:
		return values[1], nil
	}
	return nil, fmt.Errorf("an action %d with %d values", action, len(values))
}

// unknownAttributes gives the attributes of an object in which anything is unknown, which is an extension of MessagePack in cty's
// encoding.
func unknownAttributes(packed []byte) ([]string, error) {
	d := vmsgpack.NewDecoder(bytes.NewReader(packed))
	code, err := d.PeekCode()
	if err != nil || code == msgpcode.Nil {
		return nil, err
	}
	n, err := d.DecodeMapLen()
	if err != nil {
		return nil, err
	}
	var out []string
	for range n {
		name, err := d.DecodeString()
		if err != nil {
			return nil, err
		}
		unknown, err := anyUnknown(d)
		if err != nil {
			return nil, err
		}
		if unknown {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

func anyUnknown(d *vmsgpack.Decoder) (bool, error) {
	code, err := d.PeekCode()
	if err != nil {
		return false, err
	}
	parts := 0
	switch {
	case msgpcode.IsExt(code):
		return true, d.Skip()
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		n, err := d.DecodeMapLen()
		if err != nil {
			return false, err
		}
		parts = 2 * n
	case msgpcode.IsFixedArray(code) || code == msgpcode.Array16 || code == msgpcode.Array32:
		if parts, err = d.DecodeArrayLen(); err != nil {
			return false, err
		}
	default:
		return false, d.Skip()
	}
	found := false
	for range parts {
		unknown, err := anyUnknown(d)
		if err != nil {
			return false, err
		}
		found = found || unknown
	}
	return found, nil
}

// showPlan asks terraform what is in a plan.
func (s *session) showPlan(ctx context.Context, path string) (*planned, error) {
	var plan *tfjson.Plan
	err := s.read(ctx, s.dir, "show", func(tf *tfexec.Terraform) (err error) {
		opts := []tfexec.ShowOption{tfexec.JSONNumber(true)}
		if s.attach != nil {
			var info tfexec.ReattachInfo
			if err := json.Unmarshal([]byte(s.attach.Reattach()), &info); err != nil {
				return fmt.Errorf("attach the lab provider: %w", err)
			}
			opts = append(opts, tfexec.Reattach(info))
		}
		plan, err = tf.ShowPlanFile(ctx, path, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	p := &planned{outputs: map[string]cty.Value{}, unknown: map[string][]string{}}
	for name, change := range plan.OutputChanges {
		v := cty.DynamicVal
		if unknown, is := change.AfterUnknown.(bool); is && !unknown && plan.PlannedValues != nil {
			if o, has := plan.PlannedValues.Outputs[name]; has && o.Type != cty.NilType {
				known, err := ofJSON(o.Value, o.Type)
				if err != nil {
					return nil, fmt.Errorf("read output %q from the plan of stack %q: %w", name, s.work.Stack.ID, err)
				}
				v = known
			}
		}
		if sensitive, is := change.AfterSensitive.(bool); !is || sensitive {
			v = v.Mark(stack.Sensitive)
		}
		p.outputs[name] = v
	}
	for _, change := range plan.ResourceChanges {
		if change.Change == nil || change.DeposedKey != "" {
			continue
		}
		attributes, _ := change.Change.AfterUnknown.(map[string]any)
		for name, v := range attributes {
			if anyTrue(v) {
				p.unknown[change.Address] = append(p.unknown[change.Address], name)
			}
		}
		slices.Sort(p.unknown[change.Address])
	}
	return p, nil
}

// anyTrue says whether anything in what encoding/json made is true.
func anyTrue(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case []any:
		return slices.ContainsFunc(v, anyTrue)
	case map[string]any:
		for _, e := range v {
			if anyTrue(e) {
				return true
			}
		}
	}
	return false
}

// ofJSON makes a value of type t from what encoding/json made of it.
func ofJSON(v any, t cty.Type) (cty.Value, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return cty.NilVal, err
	}
	return ctyjson.Unmarshal(data, t)
}
