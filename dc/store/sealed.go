package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"geogate/replication/event"
)

// appendSealed writes a frame as it is kept in its chain: what a carrier must know, then the frame's bytes.
func appendSealed(b []byte, s *event.Sealed) []byte {
	b = slices.Grow(b, sealedHeadBytes+len(s.Bytes))
	b = binary.BigEndian.AppendUint64(b, s.Incarnation)
	b = append(b, s.Hash[:]...)
	b = append(b, s.PrevHash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.PrevRevision))
	b = binary.BigEndian.AppendUint64(b, uint64(s.First))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Last))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Txns))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Stamp))
	return append(b, s.Bytes...)
}

const sealedHeadBytes = 8 + 2*len(event.Hash{}) + 3*8 + 4 + 8

// decodeSealed reads what appendSealed wrote; the frame's bytes are a slice of b. The frame itself is not
// decoded: who receives it checks its hash.
func decodeSealed(origin string, b []byte) (event.Sealed, error) {
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
func readFrame(tx *bolt.Tx, origin string, last int64) (event.Sealed, error) {
	b := tx.Bucket(bucketChains).Bucket([]byte(origin))
	if b == nil {
		return event.Sealed{}, fmt.Errorf("no chain of %s", origin)
	}
	v := b.Get(encodeSeq(uint64(last)))
	if v == nil {
		return event.Sealed{}, fmt.Errorf("chain of %s: no frame up to %d", origin, last)
	}
	s, err := decodeSealed(origin, slices.Clone(v))
	if err != nil {
		return s, fmt.Errorf("chain of %s: frame up to %d: %w", origin, last, err)
	}
	return s, nil
}

func appendChainHead(b []byte, incarnation uint64, head, floor int64) []byte {
	b = binary.BigEndian.AppendUint64(b, incarnation)
	b = binary.BigEndian.AppendUint64(b, uint64(head))
	return binary.BigEndian.AppendUint64(b, uint64(floor))
}

func decodeChainHead(b []byte) (incarnation uint64, head, floor int64, err error) {
	if len(b) != 3*8 {
		return 0, 0, 0, errors.New("no head")
	}
	d := decoder{b: b}
	return d.uint64(), int64(d.uint64()), int64(d.uint64()), nil
}
