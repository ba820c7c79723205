package terraform

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMessagesHoldNoPlaceAndNoCode(t *testing.T) {
	for name, tc := range map[string]struct {
		err  Error
		want []string
	}{
		"diagnostics": {
			err: Error{Output: "exit status 1", Diagnostics: []Diagnostic{
				{Summary: "Invalid reference", Detail: "A name is needed.", Address: "null_resource.a", File: "main.tf", Line: 429, Code: `port = 503`},
				{Summary: "Second"},
			}},
			want: []string{"Invalid reference\nA name is needed.", "Second\n"},
		},
		"text": {
			err:  Error{Output: "exit status 1\n│ Error: Invalid reference\n│ \n│   on main.tf line 429, in resource \"a\" \"b\":\n│  429:   status = 503\n│ \n│ A name is needed."},
			want: []string{"exit status 1\n│ Error: Invalid reference\n│ \n│ \n│ A name is needed."},
		},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, tc.err.Messages()) })
	}
}
