package join

import (
	"fmt"
	"testing"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// BenchmarkJoin adds a body of 300 bytes for each side and emits their join. test/bench/joins measures it with
// comparing.
func BenchmarkJoin(b *testing.B) {
	for _, same := range []bool{true, false} {
		b.Run(fmt.Sprintf("same=%v", same), func(b *testing.B) {
			j, err := New(Options{Dir: b.TempDir(), Emit: func(Joined) error { return nil }})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = j.Close() }()
			body := make([]byte, 300)
			b.ReportAllocs()
			const open = 1000 // joins
			var offset int64
			for b.Loop() {
				for _, s := range side.All() {
					if !same {
						body[0] = byte(s)
					}
					if err := j.Add(s, Result{Key: Key{Stream: "messages/3", Offset: offset}, Kind: "frame", Body: body}); err != nil {
						b.Fatal(err)
					}
					if err := j.Advance(s, "messages/3", offset-open); err != nil {
						b.Fatal(err)
					}
				}
				offset++
			}
		})
	}
}
