package wire

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecodeFrame(t *testing.T) {
	nested := func(n int) string {
		return `{"type":"ping","x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	for name, tc := range map[string]struct {
		frame   string
		problem string
		want    ClientFrame
	}{
		"hello":               {`{"type":"hello"}`, "", ClientFrame{Type: "hello"}},
		"with spaces":         {" {\"type\" : \"ping\",\n\"id\":\"1\"} ", "", ClientFrame{Type: "ping", ID: "1"}},
		"an unknown field":    {`{"type":"ping","x":1}`, "", ClientFrame{Type: "ping"}},
		"brackets in a text":  {`{"type":"send","body":"` + strings.Repeat(`[{\"`, 40) + `"}`, "", ClientFrame{Type: "send", Body: strings.Repeat(`[{"`, 40)}},
		"as deep as can be":   {nested(16), "", ClientFrame{Type: "ping"}},
		"too deep":            {nested(17), "deeper than 16", ClientFrame{}},
		"deep and not closed": {strings.Repeat(`{"a":`, 6000), "deeper than 16", ClientFrame{}},
		"no type":             {`{}`, "no type", ClientFrame{}},
		"an unknown type":     {`{"type":"dance"}`, "unknown one", ClientFrame{}},
		"a type of another kind": {
			`{"type":{"$ne":""}}`, "no type", ClientFrame{}},
		"an operator":   {`{"type":"send","conversation":{"$gt":""},"client_id":"1","body":"x"}`, "wrong type: conversation", ClientFrame{Type: "send", ClientID: "1", Body: "x"}},
		"seqs as texts": {`{"type":"resume","id":"7","have":{"a":"1"}}`, "wrong type: have", ClientFrame{Type: "resume", ID: "7", Have: map[string]int64{"a": 0}}},
		"an operator in place of a seq": {
			`{"type":"edit","conversation":"g:1","client_id":"1","seq":{"$gt":0},"body":"x"}`, "wrong type: seq", ClientFrame{Type: "edit", Conversation: "g:1", ClientID: "1", Body: "x"}},
		"a seq that is no whole number": {`{"type":"read","conversation":"g:1","seq":1.5}`, "wrong type: seq", ClientFrame{Type: "read", Conversation: "g:1"}},
		"an operator among mentions":    {`{"type":"send","mentions":[{"$ne":""}]}`, "wrong type: mentions", ClientFrame{Type: "send", Mentions: []string{""}}},
		"an operator as an emoji":       {`{"type":"react","seq":1,"emoji":{"$ne":""},"on":true}`, "wrong type: emoji", ClientFrame{Type: "react", Seq: 1, On: true}},
		"on that is neither":            {`{"type":"react","seq":1,"emoji":"x","on":1}`, "wrong type: on", ClientFrame{Type: "react", Seq: 1, Emoji: "x"}},
		"a reaction": {`{"type":"react","conversation":"g:1","client_id":"1","seq":2,"emoji":"x","on":true}`, "",
			ClientFrame{Type: "react", Conversation: "g:1", ClientID: "1", Seq: 2, Emoji: "x", On: true}},
		"a field twice":       {`{"type":"send","client_id":"1","body":"x","body":"y"}`, "twice", ClientFrame{Type: "send", ClientID: "1", Body: "y"}},
		"a type twice":        {`{"type":"ping","type":"send"}`, "another case: type", ClientFrame{Type: "send"}},
		"another case":        {`{"type":"send","Client_ID":"1"}`, "another case: client_id", ClientFrame{Type: "send", ClientID: "1"}},
		"another case of s":   {`{"type":"read","ſeq":1}`, "another case: seq", ClientFrame{Type: "read", Seq: 1}},
		"a name with escapes": {`{"type":"ping","\u0069d":"1"}`, "", ClientFrame{Type: "ping", ID: "1"}},
		"twice by an escape":  {`{"type":"ping","id":"1","\u0069d":"2"}`, "another case: id", ClientFrame{Type: "ping", ID: "2"}},
		"a name within a text, and as a key": {`{"type":"resume","id":"\"type\":","have":{"type":1,"Type":2}}`, "",
			ClientFrame{Type: "resume", ID: `"type":`, Have: map[string]int64{"type": 1, "Type": 2}}},
		"unknown fields twice": {`{"type":"ping","x":{"type":1},"x":2,"X":["type"]}`, "", ClientFrame{Type: "ping"}},
		"null":                 {`null`, "not a JSON object", ClientFrame{}},
		"a list":               {`[{"type":"ping"}]`, "not a JSON object", ClientFrame{}},
		"two objects":          {`{"type":"ping"}{"type":"ping"}`, "not a JSON object", ClientFrame{}},
		"empty":                {``, "not a JSON object", ClientFrame{}},
		"not UTF-8":            {"{\"type\":\"ping\",\"id\":\"\xff\"}", "not UTF-8", ClientFrame{}},
		"half a letter":        {"{\"type\":\"ping\",\"id\":\"\xc3\"}", "not UTF-8", ClientFrame{}},
		"a surrogate":          {"{\"type\":\"ping\",\"id\":\"\xed\xa0\x80\"}", "not UTF-8", ClientFrame{}},
		"too large":            {`{"type":"ping","id":"` + strings.Repeat("x", MaxFrame) + `"}`, "larger than", ClientFrame{}},
		"a seq too high":       {`{"type":"resume","have":{"a":9223372036854775808}}`, "wrong type: have", ClientFrame{Type: "resume", Have: map[string]int64{"a": 0}}},
	} {
		got, err := DecodeFrame([]byte(tc.frame))
		require.Equal(t, tc.want, got, name)
		if tc.problem == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, tc.problem, name)
		}
	}
}

// The scan knows the fields of a frame by their names.
func TestFrameFields(t *testing.T) {
	fields := reflect.VisibleFields(reflect.TypeFor[ClientFrame]())
	require.Len(t, frameFields, len(fields))
	for i, f := range fields {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		require.Equal(t, name, frameFields[i])
	}
}

// BenchmarkDecodeFrame decodes a text as clients send it.
func BenchmarkDecodeFrame(b *testing.B) {
	frame := Encode(ClientFrame{Type: FrameSend, Conversation: DirectID(NewID(), NewID()), ClientID: NewID(), Body: strings.Repeat("hello ", 10)})
	for b.Loop() {
		if _, err := DecodeFrame(frame); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzDecodeFrame holds that whatever is taken is valid JSON of a known type, and survives being written again.
func FuzzDecodeFrame(f *testing.F) {
	for _, s := range []string{
		`{"type":"hello"}`, `{"type":"send","conversation":"dm:a:b","client_id":"1","body":"x"}`, `{"type":"resume","id":"r","have":{"g:1":7}}`,
		`{"type":"edit","conversation":"g:1","client_id":"2","seq":7,"body":"y"}`, `{"type":"delete","seq":-1}`,
		`{"type":"react","seq":7,"emoji":"👍","on":true}`, `{"type":"read","conversation":"g:1","seq":9223372036854775807}`,
		`{"type":"typing","on":false}`, `{"type":"send","reply_to":3,"mentions":["a","b"]}`, `{"type":"send","mentions":[]}`,
		`{"type":"ping","id":"\ud800"}`, `{"TYPE":"ping"}`, `{"type":"ping","id":"1","id":"2"}`, `null`, strings.Repeat("[", 40), `{"type":"ping","id":"\"{[\\"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := DecodeFrame(data)
		if errors.Is(err, ErrField) {
			return
		}
		if err != nil {
			require.Zero(t, got)
			return
		}
		require.True(t, json.Valid(data))
		again, err := DecodeFrame(Encode(got))
		if len(Encode(got)) <= MaxFrame { // escapes may be longer than what they stand for
			require.NoError(t, err)
			if len(got.Have) == 0 {
				got.Have = nil
			}
			if len(got.Mentions) == 0 {
				got.Mentions = nil
			}
			require.Equal(t, got, again)
		}
	})
}
