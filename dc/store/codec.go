package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"geogate/replication/event"
)

// The byte tables of this file's records are in README.md.

const (
	kindPut       = 1
	kindTombstone = 2

	revKeyBytes = 12
	sumBytes    = 4
)

var errShort = errors.New("record is too short")

func appendRevKey(b []byte, main int64, sub uint32) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(main))
	return binary.BigEndian.AppendUint32(b, sub)
}

func decodeRevKey(k []byte) (main int64, sub uint32, err error) {
	if len(k) != revKeyBytes {
		return 0, 0, fmt.Errorf("revision has %d bytes, want %d", len(k), revKeyBytes)
	}
	return int64(binary.BigEndian.Uint64(k)), binary.BigEndian.Uint32(k[8:]), nil
}

// appendRecord writes a version's body. The checksum covers the revision too, so a record that turns up in
// another's place is noticed.
func appendRecord(b []byte, v *Version, origin uint16) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	kind := byte(kindPut)
	if v.Deleted {
		kind = kindTombstone
	}
	b = append(b, kind)
	b = appendBytes(b, v.Key)
	if !v.Deleted {
		b = binary.AppendUvarint(b, uint64(v.Create))
		b = binary.AppendUvarint(b, uint64(v.Version))
		b = binary.AppendVarint(b, v.Lease)
	}
	b = appendGeo(b, &v.Geo, origin)
	if !v.Deleted {
		b = append(b, v.Value...)
	}
	binary.LittleEndian.PutUint32(b[start:], checksum(v.Mod, uint32(v.Sub), b[start+sumBytes:]))
	return b
}

func checksum(main int64, sub uint32, body []byte) uint32 {
	h := xxhash.Sum64(body)
	return uint32(h) ^ uint32(h>>32) ^ uint32(main) ^ uint32(main>>32)*0x9e3779b1 ^ sub*0x85ebca6b
}

// decodeRecord reads a version's body; key, value and seen are slices of it. The origin's name is filled in
// by the caller, who has the table.
func decodeRecord(main int64, sub uint32, body []byte, v *Version) (origin uint16, err error) {
	if len(body) < sumBytes+1 {
		return 0, errShort
	}
	if got, want := checksum(main, sub, body[sumBytes:]), binary.LittleEndian.Uint32(body); got != want {
		return 0, fmt.Errorf("record at revision %d.%d has checksum %08x, want %08x", main, sub, got, want)
	}
	d := decoder{b: body[sumBytes:]}
	kind := d.byte()
	*v = Version{Mod: main, Sub: int64(sub), Key: d.bytes()}
	switch kind {
	case kindPut:
		v.Create = int64(d.uvarint())
		v.Version = int64(d.uvarint())
		v.Lease = d.varint()
	case kindTombstone:
		v.Deleted = true
	default:
		return 0, fmt.Errorf("record at revision %d.%d has unknown kind %d", main, sub, kind)
	}
	origin = d.geo(&v.Geo)
	if d.err != nil {
		return 0, fmt.Errorf("record at revision %d.%d: %w", main, sub, d.err)
	}
	if len(v.Key) == 0 {
		return 0, fmt.Errorf("record at revision %d.%d has no key", main, sub)
	}
	if kind == kindPut {
		v.Value = d.b
	} else if len(d.b) != 0 {
		return 0, fmt.Errorf("tombstone at revision %d.%d has %d bytes too many", main, sub, len(d.b))
	}
	return origin, nil
}

func appendGeo(b []byte, g *Geo, origin uint16) []byte {
	b = binary.AppendUvarint(b, uint64(origin))
	b = binary.AppendUvarint(b, uint64(g.OriginRevision))
	b = binary.BigEndian.AppendUint64(b, uint64(g.Stamp))
	return appendBytes(b, g.Seen)
}

func appendBytes(b, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// encodeGrave writes a grave's body. The checksum covers the key too.
func encodeGrave(key []byte, g *Geo, origin uint16) []byte {
	b := appendGeo(make([]byte, sumBytes), g, origin)
	binary.LittleEndian.PutUint32(b, graveChecksum(key, b[sumBytes:]))
	return b
}

func graveChecksum(key, body []byte) uint32 {
	return uint32(xxhash.Sum64(key)>>32) ^ uint32(xxhash.Sum64(body))
}

// decodeGrave reads a grave's body; seen is a slice of it.
func decodeGrave(key, b []byte, g *Geo) (origin uint16, err error) {
	if len(b) < sumBytes {
		return 0, fmt.Errorf("grave of %q: %w", key, errShort)
	}
	if got, want := graveChecksum(key, b[sumBytes:]), binary.LittleEndian.Uint32(b); got != want {
		return 0, fmt.Errorf("grave of %q has checksum %08x, want %08x", key, got, want)
	}
	d := decoder{b: b[sumBytes:]}
	origin = d.geo(g)
	if d.err == nil && len(d.b) != 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.b))
	}
	if d.err != nil {
		return 0, fmt.Errorf("grave of %q: %w", key, d.err)
	}
	return origin, nil
}

func encodeApplied(a Applied) []byte {
	b := binary.BigEndian.AppendUint64(nil, a.Index)
	b = binary.BigEndian.AppendUint64(b, a.Term)
	return append(b, a.Conf...)
}

func decodeApplied(b []byte) (Applied, error) {
	if len(b) < 16 {
		return Applied{}, fmt.Errorf("applied index: %w", errShort)
	}
	a := Applied{Index: binary.BigEndian.Uint64(b), Term: binary.BigEndian.Uint64(b[8:])}
	if len(b) > 16 {
		a.Conf = append([]byte(nil), b[16:]...)
	}
	return a, nil
}

// decoder reads fields until the first error, which it keeps.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && (n < 0 || len(d.b) < n) {
		d.err = errShort
	}
	if d.err != nil {
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.err = errors.New("malformed number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		if d.err == nil {
			d.err = errShort
		}
		return nil
	}
	if n == 0 {
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) geo(g *Geo) (origin uint16) {
	id := d.uvarint()
	if id > 1<<16-1 && d.err == nil {
		d.err = fmt.Errorf("origin %d", id)
	}
	g.OriginRevision = int64(d.uvarint())
	g.Stamp = event.Stamp(d.uint64())
	g.Seen = d.bytes()
	return uint16(id)
}
