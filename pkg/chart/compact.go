package chart

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
)

// compactDriver makes the record of a release fit into the Secret that Helm keeps it in. Such a Secret holds 1 MiB, and
// Helm puts the whole chart into it. Of a chart that is too large it keeps what `helm history`, `helm rollback` and
// `helm get` read: the metadata, the default values, the rendered objects and the hooks. Templates, CRDs and other files
// are only needed to render it, and labctl renders from the chart itself.
type compactDriver struct {
	driver.Driver
	log func(string)
}

// TooLargeError says that a release cannot be stored, whatever is left out.
type TooLargeError struct {
	Release string
	Bytes   int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the rendered objects of release %q need %d KiB in Helm's record, compressed, and a Secret holds %d KiB: split the chart, or render less with its values",
		e.Release, e.Bytes>>10, corev1.MaxSecretSize>>10)
}

func (d *compactDriver) Create(key string, r *release.Release) error {
	r, err := d.fit(r)
	if err != nil {
		return err
	}
	return d.Driver.Create(key, r)
}

func (d *compactDriver) Update(key string, r *release.Release) error {
	r, err := d.fit(r)
	if err != nil {
		return err
	}
	return d.Driver.Update(key, r)
}

func (d *compactDriver) fit(r *release.Release) (*release.Release, error) {
	size, err := recordSize(r)
	if err != nil || size <= corev1.MaxSecretSize {
		return r, err
	}
	small := *r
	small.Chart = withoutFiles(r.Chart)
	if size, err = recordSize(&small); err != nil {
		return nil, err
	}
	if size > corev1.MaxSecretSize {
		return nil, &TooLargeError{Release: r.Name, Bytes: size}
	}
	d.log("the chart is too large for Helm's record: its templates and files are left out of it")
	return &small, nil
}

// withoutFiles is a chart without what only rendering needs.
func withoutFiles(ch *helmchart.Chart) *helmchart.Chart {
	if ch == nil {
		return nil
	}
	out := &helmchart.Chart{Metadata: ch.Metadata, Lock: ch.Lock, Values: ch.Values}
	for _, sub := range ch.Dependencies() {
		out.AddDependency(withoutFiles(sub))
	}
	return out
}

// recordSize is how long the record of a release is as Helm encodes it
// (https://github.com/helm/helm/blob/v3.18.6/pkg/storage/driver/util.go).
func recordSize(r *release.Release) (int, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(data); err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return base64.StdEncoding.EncodedLen(b.Len()), nil
}
