package dc

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/replication/event"
)

// encodeSeen writes a vector as pairs of length-prefixed origin and varint revision, origins ascending.
// It is stored with every version, so that a late arrival can be told from a conflict.
func encodeSeen(v event.Vector) []byte {
	var b []byte
	for _, origin := range slices.Sorted(maps.Keys(v)) {
		if v[origin] == 0 {
			continue
		}
		b = protowire.AppendString(b, origin)
		b = protowire.AppendVarint(b, uint64(v[origin]))
	}
	return b
}

// seenOf is the revision of one origin in an encoded vector, 0 when it is not there.
func seenOf(b []byte, origin string) (int64, error) {
	for len(b) > 0 {
		name, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return 0, fmt.Errorf("stored vector: %w", protowire.ParseError(n))
		}
		b = b[n:]
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return 0, fmt.Errorf("stored vector: %w", protowire.ParseError(n))
		}
		b = b[n:]
		if string(name) == origin {
			return int64(v), nil
		}
	}
	return 0, nil
}
