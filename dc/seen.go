package dc

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/replication/event"
)

// seenPair is an origin and how far it was seen.
type seenPair struct {
	origin   string
	revision int64
}

// fewOrigins is how many pairs are put in order without an allocation.
const fewOrigins = 8

// encodeSeen writes a vector as pairs of length-prefixed origin and varint revision, origins ascending.
// It is stored with every version, so that a late arrival can be told from a conflict.
func encodeSeen(v event.Vector) []byte {
	var few [fewOrigins]seenPair
	all := few[:0]
	for origin, revision := range v {
		all = append(all, seenPair{origin, revision})
	}
	return encodePairs(all)
}

func encodePairs(all []seenPair) []byte {
	slices.SortFunc(all, func(a, b seenPair) int { return cmp.Compare(a.origin, b.origin) })
	size := 0
	for i := range all {
		if all[i].revision != 0 {
			size += protowire.SizeBytes(len(all[i].origin)) + protowire.SizeVarint(uint64(all[i].revision))
		}
	}
	if size == 0 {
		return nil
	}
	b := make([]byte, 0, size)
	for i := range all {
		if all[i].revision == 0 {
			continue
		}
		b = protowire.AppendString(b, all[i].origin)
		b = protowire.AppendVarint(b, uint64(all[i].revision))
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
