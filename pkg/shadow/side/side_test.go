package side_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/side"
)

func TestText(t *testing.T) {
	b, err := json.Marshal(map[side.Side]side.Side{side.Live: side.Baseline})
	require.NoError(t, err)
	require.JSONEq(t, `{"live":"baseline"}`, string(b))
	for _, s := range side.All() {
		text, err := s.MarshalText()
		require.NoError(t, err)
		require.Equal(t, s.String(), string(text))
		var again side.Side
		require.NoError(t, again.UnmarshalText(text))
		require.Equal(t, s, again)
	}
	_, err = side.Side(3).MarshalText()
	require.ErrorContains(t, err, "there is no side 3; use live, candidate or baseline")
	var s side.Side
	require.ErrorContains(t, s.UnmarshalText([]byte("Live")), `there is no side "Live"; write live, candidate or baseline`)
	require.Equal(t, "side -1", side.Side(-1).String())
}
