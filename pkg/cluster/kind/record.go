package kind

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/labctl/labctl/pkg/atomicfile"
)

// record is what is known of a cluster that was made or was begun to be made, in the cluster's directory.
type record struct {
	Engine       string `json:"engine"`              // docker, nerdctl or podman
	Container    string `json:"container,omitempty"` // the finished node's id; "" while it is being made
	APIPort      int    `json:"apiPort"`
	HTTPPort     int    `json:"httpPort"`
	RegistryPort int    `json:"registryPort"`
	NodeImage    string `json:"nodeImage"`
	Parts        string `json:"parts,omitempty"` // partsOf the Options for which Ensure ended well
}

func recordPath(dir string) string { return filepath.Join(dir, "kind.json") }

// readRecord's error is os.ErrNotExist where there is none.
func readRecord(dir string) (record, error) {
	b, err := os.ReadFile(recordPath(dir))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("read %s: %w", recordPath(dir), err)
	}
	for _, name := range engines {
		if r.Engine == name {
			return r, nil
		}
	}
	return record{}, fmt.Errorf("read %s: %q is no container engine that kind knows", recordPath(dir), r.Engine)
}

func (r record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(recordPath(dir), b)
}

// fixed says what of a wanted cluster a finished one can't become. An image that is not named is not compared, so that a
// newer labctl keeps the clusters of an older.
func (r record) fixed(o Options) error {
	made := Options{APIPort: r.APIPort, HTTPPort: r.HTTPPort, RegistryPort: r.RegistryPort}.ports()
	for i, p := range o.ports() {
		if made[i].port != p.port {
			return fmt.Errorf("the port for %s is %d and %d is wanted: %w", p.use, made[i].port, p.port, ErrFixed)
		}
	}
	if o.NodeImage != "" && o.NodeImage != r.NodeImage {
		return fmt.Errorf("the node's image is %s and %s is wanted: %w", r.NodeImage, o.NodeImage, ErrFixed)
	}
	return nil
}
