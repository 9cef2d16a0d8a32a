package store

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// hasher computes what one live key adds to the digest. The digest is the sum of these modulo 2^64, so it
// does not depend on the order of writes; it leaves local revisions out, which differ between DCs.
type hasher struct {
	d   xxhash.Digest
	buf [40]byte
}

func (h *hasher) sum(key, value []byte, lease int64, g *Geo) uint64 {
	h.d.Reset()
	binary.LittleEndian.PutUint64(h.buf[0:], uint64(len(key)))
	binary.LittleEndian.PutUint64(h.buf[8:], uint64(len(value)))
	binary.LittleEndian.PutUint64(h.buf[16:], uint64(lease))
	binary.LittleEndian.PutUint64(h.buf[24:], uint64(g.Stamp))
	binary.LittleEndian.PutUint64(h.buf[32:], uint64(g.OriginRevision))
	h.write(h.buf[:])
	h.write(key)
	h.write(value)
	_, _ = h.d.WriteString(g.Origin) // never fails
	return h.d.Sum64()
}

func (h *hasher) write(b []byte) {
	_, _ = h.d.Write(b) // never fails
}
