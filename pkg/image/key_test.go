//go:build unix

package image

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/gobuild"
)

func TestTheKeyHasAllThatDecidesTheProgram(t *testing.T) {
	type build struct {
		b  *Builder
		r  *recipe
		in *inputs
	}
	key := func(t *testing.T, change func(*build)) string {
		t.Helper()
		c := build{b: New(Options{CacheDir: t.TempDir(), Arch: "amd64"}), r: &recipe{name: "auth", dir: "/repo/services/auth", Binary: "/auth"}, in: &inputs{Go: "go1.26.0"}}
		change(&c)
		k, err := c.b.key(c.r, c.in)
		require.NoError(t, err)
		return k
	}
	setting := func(add string) func(*build) {
		return func(c *build) {
			c.b.settings = func(o gobuild.Options) []string { return append(o.Settings(), add) }
		}
	}
	same := key(t, func(*build) {})
	require.Equal(t, same, key(t, func(*build) {}))
	for name, change := range map[string]func(*build){
		"ldflags of the recipe":  func(c *build) { c.r.Ldflags = "-X main.version=2" },
		"tags of the recipe":     func(c *build) { c.r.Tags = []string{"netgo"} },
		"architecture":           func(c *build) { c.b.o.Arch = "arm64" },
		"version of Go":          func(c *build) { c.in.Go = "go1.26.1" },
		"a source":               func(c *build) { c.in.Files = map[string]string{"main.go": "1"} },
		"gcflags of every build": setting("-gcflags=all=-N"),
		"cgo":                    setting("CGO_ENABLED=1"),
	} {
		t.Run(name, func(t *testing.T) { require.NotEqual(t, same, key(t, change)) })
	}
}

func TestSettingsNameEveryFlag(t *testing.T) {
	b := New(Options{Arch: "arm64"})
	got := b.settings(b.goOptions(&recipe{name: "auth", Tags: []string{"netgo"}, Ldflags: "-X a=b"}, "out"))
	slices.Sort(got)
	require.Equal(t, []string{
		"-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags=-s -w -buildid= -X a=b", "-tags=timetzdata,netgo", "-trimpath",
		"CGO_ENABLED=0", "GOAMD64=v1", "GOARCH=arm64", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFLAGS=-mod=readonly", "GOOS=linux", "GOWORK=off",
	}, got)
}
