package requestid

import (
	"math"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	for name, tc := range map[string]struct {
		id   string
		kept bool
	}{
		"none":            {"", false},
		"the ingress's":   {"aZ09+-aZ09+-aZ09", true},
		"a UUID":          {"0193a7f0-0000-7000-8000-000000000000", true},
		"the shortest":    {"12345678", true},
		"too short":       {"1234567", false},
		"the longest":     {strings.Repeat("x", 64), true},
		"too long":        {strings.Repeat("x", 65), false},
		"a space":         {"a b12345678", false},
		"a line":          {"a\nlevel=ERROR", false},
		"a quote":         {`a"b12345678`, false},
		"no ASCII":        {"éa12345678", false},
		"no UTF-8 at all": {"\xff12345678", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if tc.id != "" {
			r.Header.Set(Header, tc.id)
		}
		got := Of(r)
		if tc.kept {
			require.Equal(t, tc.id, got, name)
		} else {
			require.NoError(t, uuid.Validate(got), name)
		}
	}
}

// The id of a part is one that is kept, too.
func TestPart(t *testing.T) {
	require.Equal(t, "0193a7f0-0000-7000-8000-000000000000-7", Part("0193a7f0-0000-7000-8000-000000000000", 7))
	for _, n := range []int64{1, math.MaxInt64} {
		id := Part(strings.Repeat("x", 64), n)
		require.True(t, isWellFormed(id), id)
		require.True(t, strings.HasSuffix(id, "x-"+strconv.FormatInt(n, 10)), id)
	}
}
