package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
)

// SetLease keeps a record of the caller under the id of a lease; nil removes it. The record is kept, not
// copied.
func (b *Batch) SetLease(id int64, record []byte) {
	s := b.s
	if record == nil {
		delete(s.leases, id)
	} else {
		s.leases[id] = record
	}
	s.active.leases[id] = record
	s.active.bytes += int64(len(record)) + overhead
}

// EachLease calls fn for every record of a lease, in no order. Records must not be changed.
func (s *Store) EachLease(fn func(id int64, record []byte) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, record := range s.leases {
		if err := fn(id, record); err != nil {
			return fmt.Errorf("lease %d: %w", id, err)
		}
	}
	return nil
}

// encodeLease puts a checksum in front of a record; it covers the id too.
func encodeLease(id int64, record []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, sumBytes+len(record)), leaseSum(id, record))
	return append(b, record...)
}

func leaseSum(id int64, record []byte) uint32 {
	h := xxhash.Sum64(record) ^ uint64(id)*0x9e3779b97f4a7c15
	return uint32(h) ^ uint32(h>>32)
}

// decodeLease returns a copy of the record.
func decodeLease(k, v []byte) (id int64, record []byte, err error) {
	if len(k) != seqBytes || len(v) < sumBytes {
		return 0, nil, fmt.Errorf("entry %x: %w", k, errShort)
	}
	id = int64(binary.BigEndian.Uint64(k))
	record = append([]byte{}, v[sumBytes:]...)
	if got, want := leaseSum(id, record), binary.LittleEndian.Uint32(v); got != want {
		return 0, nil, fmt.Errorf("lease %d has checksum %08x, want %08x", id, got, want)
	}
	return id, record, nil
}

// writeLeases writes what has changed. Their number stands beside, so that lost ones are noticed.
func writeLeases(tx *bolt.Tx, f *flight) error {
	if len(f.leases) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketLeases)
	if err != nil {
		return err
	}
	for id, record := range f.leases {
		key := encodeSeq(uint64(id))
		if record == nil {
			err = b.Delete(key)
		} else {
			err = b.Put(key, encodeLease(id, record))
		}
		if err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(metaLeases, encodeSeq(uint64(f.totalLeases)))
}

// loadLeases reads the records. A file of a store that never had a lease has neither the bucket nor the number.
func (d *disk) loadLeases(b *bolt.Bucket, total []byte) error {
	if total == nil {
		return nil
	}
	if len(total) != seqBytes || b == nil {
		return fmt.Errorf("the number has %d bytes, bucket is there: %t", len(total), b != nil)
	}
	err := b.ForEach(func(k, v []byte) error {
		id, record, err := decodeLease(k, v)
		if err == nil {
			d.leases[id] = record
		}
		return err
	})
	if err != nil {
		return err
	}
	if want := binary.BigEndian.Uint64(total); uint64(len(d.leases)) != want {
		return fmt.Errorf("%d leases, want %d", len(d.leases), want)
	}
	return nil
}
