package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"geogate/replication/event"
)

// appendSealed writes a frame as it is kept in its chain: a checksum, what a carrier must know, then the frame's
// bytes.
func appendSealed(b []byte, s *event.Sealed) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, s.Incarnation)
	b = append(b, s.Hash[:]...)
	b = append(b, s.PrevHash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.PrevRevision))
	b = binary.BigEndian.AppendUint64(b, uint64(s.First))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Last))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Txns))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Stamp))
	b = append(b, s.Bytes...)
	binary.LittleEndian.PutUint32(b[start:], numberedSum(uint64(s.Last), b[start+sumBytes:]))
	return b
}

const sealedHeadBytes = 8 + 2*len(event.Hash{}) + 3*8 + 4 + 8

// decodeSealed reads what appendSealed wrote under the key last; the frame's bytes are a slice of b. A plain
// frame is of format 1, without a checksum: its own hash is compared, and what the frame says of itself.
func decodeSealed(origin string, last int64, b []byte, plain bool) (event.Sealed, error) {
	if !plain {
		if len(b) < sumBytes {
			return event.Sealed{}, errShort
		}
		if got, want := numberedSum(uint64(last), b[sumBytes:]), binary.LittleEndian.Uint32(b); got != want {
			return event.Sealed{}, fmt.Errorf("checksum is %08x, want %08x", got, want)
		}
		b = b[sumBytes:]
	}
	s, err := decodeSealedBody(origin, b)
	if err == nil && s.Last != last {
		err = fmt.Errorf("it ends at %d", s.Last)
	}
	if err != nil || !plain {
		return s, err
	}
	_, own, err := event.Open(s.Bytes)
	if err == nil && (own.Hash != s.Hash || own.Origin != origin || own.Incarnation != s.Incarnation || own.PrevHash != s.PrevHash ||
		own.PrevRevision != s.PrevRevision || own.First != s.First || own.Last != s.Last || own.Txns != s.Txns || own.Stamp != s.Stamp) {
		err = errors.New("its description does not fit its bytes")
	}
	return s, err
}

func decodeSealedBody(origin string, b []byte) (event.Sealed, error) {
	if len(b) <= sealedHeadBytes {
		return event.Sealed{}, errShort
	}
	d := decoder{b: b}
	s := event.Sealed{Origin: origin, Incarnation: d.uint64()}
	copy(s.Hash[:], d.take(len(s.Hash)))
	copy(s.PrevHash[:], d.take(len(s.PrevHash)))
	s.PrevRevision = int64(d.uint64())
	s.First, s.Last = int64(d.uint64()), int64(d.uint64())
	s.Txns = int(binary.BigEndian.Uint32(d.take(4)))
	s.Stamp = event.Stamp(d.uint64())
	s.Bytes = d.b
	if s.First <= s.PrevRevision || s.Last < s.First || s.Txns < 1 {
		return s, fmt.Errorf("revisions %d..%d behind %d, %d transactions", s.First, s.Last, s.PrevRevision, s.Txns)
	}
	return s, nil
}

// readFrame reads one frame of a chain; its bytes outlive the transaction.
func readFrame(tx *bolt.Tx, origin string, last int64, plain bool) (event.Sealed, error) {
	b := tx.Bucket(bucketChains).Bucket([]byte(origin))
	if b == nil {
		return event.Sealed{}, fmt.Errorf("no chain of %s", origin)
	}
	v := b.Get(encodeSeq(uint64(last)))
	if v == nil {
		return event.Sealed{}, fmt.Errorf("chain of %s: no frame up to %d", origin, last)
	}
	s, err := decodeSealed(origin, last, slices.Clone(v), plain)
	if err != nil {
		return s, fmt.Errorf("chain of %s: frame up to %d: %w", origin, last, err)
	}
	return s, nil
}

// chainHead is what is kept of a chain beside its frames.
type chainHead struct {
	incarnation uint64
	head, floor int64
	plain       int64 // frames up to here were written without a checksum
}

// plainHeadBytes is the size of a head of format 1, which has no checksum and is followed by plain frames only.
const plainHeadBytes = 3 * 8

func appendChainHead(b []byte, origin string, h chainHead) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, h.incarnation)
	b = binary.BigEndian.AppendUint64(b, uint64(h.head))
	b = binary.BigEndian.AppendUint64(b, uint64(h.floor))
	b = binary.BigEndian.AppendUint64(b, uint64(h.plain))
	binary.LittleEndian.PutUint32(b[start:], graveChecksum([]byte(origin), b[start+sumBytes:]))
	return b
}

func decodeChainHead(origin string, b []byte) (h chainHead, err error) {
	switch len(b) {
	case plainHeadBytes:
	case sumBytes + plainHeadBytes + 8:
		if got, want := graveChecksum([]byte(origin), b[sumBytes:]), binary.LittleEndian.Uint32(b); got != want {
			return h, fmt.Errorf("head has checksum %08x, want %08x", got, want)
		}
		b = b[sumBytes:]
	default:
		return h, fmt.Errorf("head has %d bytes", len(b))
	}
	d := decoder{b: b}
	h.incarnation, h.head, h.floor = d.uint64(), int64(d.uint64()), int64(d.uint64())
	h.plain = h.head
	if len(d.b) > 0 {
		h.plain = int64(d.uint64())
	}
	return h, d.err
}
