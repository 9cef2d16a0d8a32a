package replication

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/s2"

	"geogate/replication/wire"
)

// FuzzInflate: a piece gives as many bytes as its message says, or an error; the caller bounds what it says.
func FuzzInflate(f *testing.F) {
	pieces, err := wire.NewPieces(1 << 20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s2.Encode(nil, bytes.Repeat([]byte("a"), 1000)), uint64(1000))
	_, zstd := pieces.Compress(bytes.Repeat([]byte("a"), 1000), true)
	f.Add(zstd, uint64(1000))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, uint64(1<<20))
	f.Fuzz(func(t *testing.T, piece []byte, want uint64) {
		if want > 1<<20 {
			return
		}
		for _, codec := range []wire.Codec{0, wire.Codec_CODEC_S2, wire.Codec_CODEC_ZSTD, 9} {
			if raw, err := pieces.Decompress(codec, piece, want); err == nil && uint64(len(raw)) != want {
				t.Fatalf("%s: %d bytes, %d said", codec, len(raw), want)
			}
		}
	})
}
