package replication

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/s2"
)

// FuzzInflate: a piece gives as many bytes as its message says, or an error; the caller bounds what it says.
func FuzzInflate(f *testing.F) {
	f.Add(s2.Encode(nil, bytes.Repeat([]byte("a"), 1000)), uint64(1000))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, uint64(1<<20))
	f.Fuzz(func(t *testing.T, piece []byte, want uint64) {
		if want > 1<<20 {
			return
		}
		if raw, err := inflate(piece, want); err == nil && uint64(len(raw)) != want {
			t.Fatalf("%d bytes, %d said", len(raw), want)
		}
	})
}
