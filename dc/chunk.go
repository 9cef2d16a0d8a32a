package dc

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/dc/store"
	"geogate/replication/event"
)

// chunkVersion is the version of the format of a chunk; see README.md for the table.
const chunkVersion = 1

// chunk is a part of a DC's state: some keys with their newest state, and how far that DC was.
type chunk struct {
	versions []store.Version
	reach    map[life]int64
}

const (
	chunkFieldVersion = 1
	chunkFieldReach   = 2
	chunkFieldKey     = 3

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
		v := &versions[i]
		var k []byte
		k = appendField(k, keyName, v.Key)
		k = appendField(k, keyValue, v.Value)
		k = appendUint(k, keyLease, uint64(v.Lease))
		if v.Deleted {
			k = appendUint(k, keyDeleted, 1)
		}
		k = appendField(k, keyOrigin, []byte(v.Geo.Origin))
		k = appendUint(k, keyOriginRevision, uint64(v.Geo.OriginRevision))
		k = appendUint(k, keyStamp, uint64(v.Geo.Stamp))
		k = appendField(k, keySeen, v.Geo.Seen)
		b = appendField(b, chunkFieldKey, k)
	}
	return b
}

func appendReach(b []byte, l life, revision int64) []byte {
	var r []byte
	r = appendField(r, reachOrigin, []byte(l.origin))
	r = protowire.AppendTag(r, reachIncarnation, protowire.Fixed64Type)
	r = protowire.AppendFixed64(r, l.incarnation)
	r = appendUint(r, reachRevision, uint64(revision))
	return appendField(b, chunkFieldReach, r)
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
			return c.addKey(raw)
		}
		return nil
	})
	if err == nil && version != chunkVersion {
		err = fmt.Errorf("version %d, this build reads %d", version, chunkVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: chunk of a snapshot: %w", ErrMalformed, err)
	}
	return c, nil
}

func (c *chunk) addReach(b []byte) error {
	var l life
	var revision int64
	err := chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
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
	if err != nil {
		return err
	}
	if l.origin == "" || l.incarnation == 0 || revision < 0 {
		return fmt.Errorf("reach %s at %d is of no life", l, revision)
	}
	c.reach[l] = max(c.reach[l], revision)
	return nil
}

func (c *chunk) addKey(b []byte) error {
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
		return err
	}
	if len(v.Key) == 0 || v.Geo.Origin == "" || v.Geo.OriginRevision <= 0 {
		return fmt.Errorf("key %q of origin %q, revision %d", v.Key, v.Geo.Origin, v.Geo.OriginRevision)
	}
	c.versions = append(c.versions, v)
	return nil
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
