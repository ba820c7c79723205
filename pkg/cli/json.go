package cli

import (
	"encoding/json"
	"io"
)

// WriteJSON writes v for --json: indented, with a newline at its end.
func WriteJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
