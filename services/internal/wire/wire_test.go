package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConversationIDs(t *testing.T) {
	a, b := NewID(), NewID()
	require.Equal(t, DirectID(a, b), DirectID(b, a))
	x, y, ok := Direct(DirectID(b, a))
	require.True(t, ok)
	require.Equal(t, []string{a, b}, []string{x, y}, "later ids are larger")
	require.True(t, ValidConversation(NewGroupID()))
	for _, bad := range []string{
		"", "dm:", "dm:" + a, "dm:" + b + ":" + a, "dm:" + a + ":" + a, DirectID(a, b) + ":" + a, "dm:x:y", "g:", "g:x", a,
		"dm:" + a + ":" + strings.ToUpper(b), "g:" + NewGroupID(), "g:{" + a + "}", "dm:$where:x", "g:../" + a,
	} {
		require.False(t, ValidConversation(bad), bad)
	}
}

func TestCheckBody(t *testing.T) {
	for name, tc := range map[string]struct{ body, problem string }{
		"good":         {"hello\n\tworld 👋", ""},
		"longest":      {strings.Repeat("é", MaxBodyRunes), ""},
		"too long":     {strings.Repeat("é", MaxBodyRunes+1), "longer than"},
		"empty":        {"", "empty"},
		"blank":        {" \n\u00a0", "empty"},
		"NUL":          {"a\x00", "control character"},
		"escape":       {"\x1b[2J", "control character"},
		"not UTF-8":    {"\xff", "not UTF-8"},
		"script stays": {"<script>alert(1)</script>", ""},
	} {
		err := CheckBody(tc.body)
		if tc.problem == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, tc.problem, name)
		}
	}
}

func TestTime(t *testing.T) {
	at := At(time.Date(2026, 11, 21, 9, 15, 30, 120_999_999, time.FixedZone("", 3600)))
	b, err := json.Marshal(at)
	require.NoError(t, err)
	require.Equal(t, `"2026-11-21T08:15:30.120Z"`, string(b))
	var back Time
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, at, back)
}
