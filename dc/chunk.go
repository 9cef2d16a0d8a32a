package dc

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/dc/store"
	"geogate/replication/event"
)

// chunkVersion is the version of the format of a chunk; see README.md for the table.
const (
	chunkVersion       = 1
	chunkVersionSystem = 2 // there are entries of the system table, which older builds would pass over

	chunkVersionRequests = 3 // there are remembered requests; likewise
)

// chunk is a part of a DC's state: some keys with their newest state, and how far that DC was.
type chunk struct {
	versions []store.Version
	system   []store.SystemEntry
	requests []requestState
	sweep    *sweep // nil: nothing is said of what is not here
	reach    map[life]int64
}

const (
	chunkFieldVersion = 1
	chunkFieldReach   = 2
	chunkFieldKey     = 3
	chunkFieldSystem  = 4 // fields as of a key
	chunkFieldRequest = 5
	chunkFieldSweep   = 6

	reachOrigin      = 1
	reachIncarnation = 2
	reachRevision    = 3

	keyName           = 1
	keyValue          = 2
	keyLease          = 3
	keyDeleted        = 4
	keyOrigin         = 5
	keyOriginRevision = 6
	keyStamp          = 7
	keySeen           = 8
)

func appendChunk(versions []store.Version, marks []event.Mark, reach map[life]int64) []byte {
	b := appendUint(nil, chunkFieldVersion, chunkVersion)
	for _, m := range marks {
		b = appendReach(b, life{m.Origin, m.Incarnation}, m.Revision)
	}
	for l, r := range reach {
		b = appendReach(b, l, r)
	}
	for i := range versions {
		b = appendField(b, chunkFieldKey, appendKey(nil, &versions[i]))
	}
	return b
}

func appendKey(b []byte, v *store.Version) []byte {
	b = appendField(b, keyName, v.Key)
	b = appendField(b, keyValue, v.Value)
	b = appendUint(b, keyLease, uint64(v.Lease))
	if v.Deleted {
		b = appendUint(b, keyDeleted, 1)
	}
	b = appendField(b, keyOrigin, []byte(v.Geo.Origin))
	b = appendUint(b, keyOriginRevision, uint64(v.Geo.OriginRevision))
	b = appendUint(b, keyStamp, uint64(v.Geo.Stamp))
	return appendField(b, keySeen, v.Geo.Seen)
}

// appendSystem adds entries of the system table to a chunk. The version is written again: the last one counts.
func appendSystem(b []byte, entries []*store.SystemEntry) []byte {
	b = appendUint(b, chunkFieldVersion, chunkVersionSystem)
	for _, e := range entries {
		v := store.Version{Key: []byte(e.Name), Value: e.Value, Deleted: e.Deleted, Geo: e.Geo}
		b = appendField(b, chunkFieldSystem, appendKey(nil, &v))
	}
	return b
}

func appendReach(b []byte, l life, revision int64) []byte {
	return appendField(b, chunkFieldReach, appendLife(nil, l, revision))
}

// appendLife writes a place in a life of an origin.
func appendLife(b []byte, l life, revision int64) []byte {
	b = appendField(b, reachOrigin, []byte(l.origin))
	b = protowire.AppendTag(b, reachIncarnation, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, l.incarnation)
	return appendUint(b, reachRevision, uint64(revision))
}

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendField(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// decodeChunk checks every length, so any bytes may be passed. Keys and values are slices of b.
func decodeChunk(b []byte) (*chunk, error) {
	c := &chunk{reach: map[life]int64{}}
	version := uint64(0)
	err := chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case chunkFieldVersion:
			version = n
		case chunkFieldReach:
			return c.addReach(raw)
		case chunkFieldKey:
			v, err := decodeKey(raw)
			c.versions = append(c.versions, v)
			return err
		case chunkFieldSystem:
			v, err := decodeKey(raw)
			c.system = append(c.system, store.SystemEntry{Name: string(v.Key), Value: v.Value, Deleted: v.Deleted, Geo: v.Geo})
			return err
		case chunkFieldRequest:
			q, err := decodeRequestState(raw)
			c.requests = append(c.requests, q)
			return err
		case chunkFieldSweep:
			w, err := decodeSweep(raw)
			c.sweep = w
			return err
		}
		return nil
	})
	switch {
	case err != nil:
	case version < chunkVersion || version > chunkVersionRequests:
		err = fmt.Errorf("version %d, this build reads %d to %d", version, chunkVersion, chunkVersionRequests)
	case len(c.system) > 0 && version < chunkVersionSystem:
		err = fmt.Errorf("version %d with entries of the system table", version)
	case len(c.requests) > 0 && version < chunkVersionRequests:
		err = fmt.Errorf("version %d with remembered requests", version)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: chunk of a snapshot: %w", ErrMalformed, err)
	}
	return c, nil
}

func (c *chunk) addReach(b []byte) error {
	l, revision, err := decodeLife(b)
	if err != nil {
		return err
	}
	c.reach[l] = max(c.reach[l], revision)
	return nil
}

func decodeLife(b []byte) (l life, revision int64, err error) {
	err = chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case reachOrigin:
			l.origin = string(raw)
		case reachIncarnation:
			l.incarnation = n
		case reachRevision:
			revision = int64(n)
		}
		return nil
	})
	if err == nil && (l.origin == "" || l.incarnation == 0 || revision < 0) {
		err = fmt.Errorf("place %s at %d is of no life", l, revision)
	}
	return l, revision, err
}

func decodeKey(b []byte) (store.Version, error) {
	var v store.Version
	err := chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case keyName:
			v.Key = raw
		case keyValue:
			v.Value = raw
		case keyLease:
			v.Lease = int64(n)
		case keyDeleted:
			v.Deleted = n != 0
		case keyOrigin:
			v.Geo.Origin = string(raw)
		case keyOriginRevision:
			v.Geo.OriginRevision = int64(n)
		case keyStamp:
			v.Geo.Stamp = event.Stamp(n)
		case keySeen:
			v.Geo.Seen = raw
		}
		return nil
	})
	if err != nil {
		return v, err
	}
	if len(v.Key) == 0 || v.Geo.Origin == "" || v.Geo.OriginRevision <= 0 {
		return v, fmt.Errorf("key %q of origin %q, revision %d", v.Key, v.Geo.Origin, v.Geo.OriginRevision)
	}
	return v, nil
}

// chunkFields calls fn for each field of a message: n for varint and fixed64, raw for bytes. Fields of other
// types are skipped.
func chunkFields(b []byte, fn func(num protowire.Number, n uint64, raw []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v uint64
		var raw []byte
		known := true
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		default:
			known = false
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if !known {
			continue
		}
		if err := fn(num, v, raw); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
	}
	return nil
}
