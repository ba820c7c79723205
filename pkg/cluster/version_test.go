package cluster

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHelmSaysTheVersionThatItIs(t *testing.T) {
	b, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	require.Contains(t, string(b), "\thelm.sh/helm/v3 "+helmVersion+"\n")
}
