package chart

import (
	"fmt"

	"helm.sh/helm/v3/pkg/chart/loader"
)

// Contents is a chart and its values, as another than labctl may install them.
type Contents struct {
	Files       map[string][]byte // path in the chart → content, without what .helmignore leaves out
	Values      map[string]any    // of all files and of the release, joined
	PodSecurity string            // the level that a namespace for it should enforce; "" for the cluster's
}

// Open reads a release's chart and values, and makes sure that the one takes the other, so that what is wrong is said before anything changes.
func Open(r Release) (*Contents, error) {
	if _, err := Render(r); err != nil {
		return nil, err
	}
	ch, err := loader.Load(r.ChartDir)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", r.ChartDir, err)
	}
	values, err := r.allValues()
	if err != nil {
		return nil, err
	}
	c := &Contents{Files: map[string][]byte{}, PodSecurity: ch.Metadata.Annotations[podSecurity]}
	c.Values, _ = plain(values).(map[string]any)
	for _, f := range ch.Raw {
		c.Files[f.Name] = f.Data
	}
	return c, nil
}
