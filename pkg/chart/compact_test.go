package chart

import (
	"crypto/rand"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
)

func TestCompactDriver(t *testing.T) {
	noise := func(n int) []byte {
		b := make([]byte, n)
		_, err := rand.Read(b)
		require.NoError(t, err)
		return []byte(hex.EncodeToString(b))
	}
	of := func(files, manifest int) *release.Release {
		sub := &helmchart.Chart{Metadata: &helmchart.Metadata{Name: "sub"}, Values: map[string]any{"a": 1}, Files: []*helmchart.File{{Name: "README.md", Data: noise(files)}}}
		ch := &helmchart.Chart{Metadata: &helmchart.Metadata{Name: "large"}, Values: map[string]any{"b": 2}, Templates: []*helmchart.File{{Name: "templates/a.yaml", Data: noise(files)}}}
		ch.AddDependency(sub)
		return &release.Release{Name: "r", Namespace: "n", Version: 1, Info: &release.Info{Status: release.StatusDeployed}, Chart: ch, Manifest: string(noise(manifest))}
	}
	for _, tt := range []struct {
		name            string
		files, manifest int
		stripped        bool
		fails           bool
	}{
		{"small", 1 << 10, 1 << 10, false, false},
		{"files too large", 600 << 10, 1 << 10, true, false},
		{"objects too large", 1 << 10, 1200 << 10, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			memory := driver.NewMemory()
			d := &compactDriver{Driver: memory, log: func(string) {}}
			r := of(tt.files, tt.manifest)
			err := d.Create("r.v1", r)
			if tt.fails {
				var large *TooLargeError
				require.ErrorAs(t, err, &large)
				return
			}
			require.NoError(t, err)
			require.NoError(t, d.Update("r.v1", r))
			memory.SetNamespace("n")
			got, err := memory.Get("r.v1")
			require.NoError(t, err)
			require.Equal(t, r.Manifest, got.Manifest)
			require.Equal(t, map[string]any{"b": 2}, got.Chart.Values)
			require.Equal(t, tt.stripped, len(got.Chart.Templates) == 0)
			require.NotEmpty(t, r.Chart.Templates, "the caller's is left as it is")
		})
	}
}
