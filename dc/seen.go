package dc

import (
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

// seenOf is the revision of one origin in an encoded vector, 0 when it is not there or can't be read: chunks bring
// vectors from elsewhere as they are, and the worst of one that says nothing is a conflict that is none.
func seenOf(b []byte, origin string) int64 {
	for len(b) > 0 {
		name, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return 0
		}
		b = b[n:]
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return 0
		}
		b = b[n:]
		if string(name) == origin {
			return int64(v)
		}
	}
	return 0
}
