package node

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheGateOpensForTheRightWordAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		say  string
		want string
	}{
		"go":           {say: string(StartByte)},
		"labctl died":  {want: ErrAbandoned.Error()},
		"another word": {say: "x", want: "it says"},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			require.NoError(t, err)
			_, err = w.WriteString(tc.say)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			if err = AwaitStart(r); tc.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.want)
			}
		})
	}
}
