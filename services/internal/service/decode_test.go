package service

import (
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzDecode holds that Decode answers any body with an *Error or a value, and never panics.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"a":"b"}`, `{"a":{"$ne":""}}`, `{"a":"b"}{}`, `null`, `[`, "{\"a\":\"\xff\"}", `{"n":1e999}`, `{"A":"b"}`} {
		f.Add("application/json", s)
	}
	f.Add("text/plain", "{}")
	f.Fuzz(func(t *testing.T, kind, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header["Content-Type"] = []string{kind}
		var v struct {
			A string `json:"a"`
			N int64  `json:"n"`
		}
		if err := Decode(httptest.NewRecorder(), r, &v); err != nil {
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, []int{400, 413, 415}, e.Status)
			return
		}
		require.True(t, utf8.ValidString(v.A))
	})
}

func TestDecodeRefuses(t *testing.T) {
	type inner struct {
		B string `json:"b"`
	}
	for name, body := range map[string]string{
		"null":                       `{"a":null}`,
		"an unknown field":           `{"b":"x"}`,
		"another case":               `{"A":"x"}`,
		"another case, and the name": `{"a":"x","A":"y"}`,
		"another case within":        `{"in":{"B":"x"}}`,
		"another case in a list":     `{"list":[{"b":"x"},{"B":"x"}]}`,
		"text that is not UTF-8":     "{\"a\":\"\xff\"}",
		"a field twice":              `{"a":"x","a":"x"}`,
		"a field twice by an escape": `{"a":"x","\u0061":"y"}`,
		"a field twice within":       `{"in":{"b":"x","b":"y"}}`,
		"a field twice in a list":    `{"list":[{"b":"x","b":"x"}]}`,
		"a key of a map twice":       `{"map":{"x":1,"x":1}}`,
		"a null and a value":         `{"a":null,"a":"x"}`,
		"two values":                 `{"a":"x"}{}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			var v struct {
				A    string           `json:"a"`
				In   *inner           `json:"in"`
				List []inner          `json:"list"`
				Map  map[string]int64 `json:"map"`
			}
			var e *Error
			require.ErrorAs(t, Decode(httptest.NewRecorder(), r, &v), &e)
			require.Equal(t, "bad_request", e.Code)
		})
	}
}
