package shadow

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/labctl/labctl/pkg/shadow/compare"
)

// ReadRules reads what may differ in a shadow of a service, from the file beside the chart in the chat's source. Without
// one, nothing may.
func ReadRules(source, service string) (compare.Rules, error) {
	path := filepath.Join(source, "charts", "chat", "shadow", service+".yaml")
	data, err := os.ReadFile(path) //nolint:gosec // a path of the lab's own
	if errors.Is(err, fs.ErrNotExist) {
		return compare.Rules{}, nil
	}
	if err != nil {
		return compare.Rules{}, fmt.Errorf("read the rules of the shadow of %s: %w", service, err)
	}
	return compare.ParseRules(path, data)
}
