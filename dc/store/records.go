package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/tidwall/btree"
	bolt "go.etcd.io/bbolt"
)

// Table names a set of small records of the caller, ordered by their keys and all in memory: who writes bounds
// them. The number is part of the format. Records are the datacenter's own and add nothing to the digest.
type Table byte

// keptGraves is the store's own table, see keepGrave.
const keptGraves Table = 'g'

// maxRecordKey is the longest key of a record, in bytes.
const maxRecordKey = 32_000

type records struct {
	btree.Map[string, []byte] // by table and key; values are never changed
}

func recordName(t Table, key string) string { return string(rune(t)) + key }

// SetRecord keeps a record under a key of at most 32,000 bytes; nil removes it. It is kept, not copied.
func (b *Batch) SetRecord(t Table, key string, value []byte) {
	s, name := b.s, recordName(t, key)
	if len(key) > maxRecordKey {
		panic(fmt.Sprintf("store: record with a key of %d bytes", len(key)))
	}
	if value == nil {
		if _, known := s.records.Delete(name); !known {
			return
		}
	} else {
		s.records.Set(name, value)
	}
	if s.active.tables == nil {
		s.active.tables = map[string][]byte{}
	}
	s.active.tables[name] = value
	s.active.bytes += int64(len(name)+len(value)) + overhead
}

// Record is what is kept under a key, nil when there is nothing. It must not be changed.
func (b *Batch) Record(t Table, key string) []byte {
	value, _ := b.s.records.Get(recordName(t, key))
	return value
}

// EachRecord calls fn for the records of a table at or behind a key, ascending, until it returns false. It must
// not change the table.
func (b *Batch) EachRecord(t Table, from string, fn func(key string, value []byte) bool) {
	b.s.eachRecordLocked(t, from, fn)
}

// EachRecord is [Batch.EachRecord] outside of a batch.
func (s *Store) EachRecord(t Table, from string, fn func(key string, value []byte) bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.eachRecordLocked(t, from, fn)
}

func (s *Store) eachRecordLocked(t Table, from string, fn func(key string, value []byte) bool) {
	s.records.Ascend(recordName(t, from), func(name string, value []byte) bool {
		return name[0] == byte(t) && fn(name[1:], value)
	})
}

// encodeTableRecord puts a checksum in front of a record; it covers the name too.
func encodeTableRecord(name string, value []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, sumBytes+len(value)), tableSum(name, value))
	return append(b, value...)
}

func tableSum(name string, value []byte) uint32 {
	h := xxhash.Sum64(value) ^ xxhash.Sum64String(name)*0x9e3779b97f4a7c15
	return uint32(h) ^ uint32(h>>32)
}

// decodeTableRecord returns a slice of v.
func decodeTableRecord(k, v []byte) ([]byte, error) {
	if len(k) == 0 || len(v) < sumBytes {
		return nil, fmt.Errorf("record %x: %w", k, errShort)
	}
	if got, want := tableSum(asString(k), v[sumBytes:]), binary.LittleEndian.Uint32(v); got != want {
		return nil, fmt.Errorf("record %x has checksum %08x, want %08x", k, got, want)
	}
	return v[sumBytes:], nil
}

// writeRecords writes what has changed. The bucket, and with it the format version that older builds refuse (see
// writeState), comes with the first one.
func writeRecords(tx *bolt.Tx, f *flight) error {
	if len(f.tables) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketRecords)
	if err != nil {
		return err
	}
	for name, value := range f.tables {
		if value == nil {
			err = b.Delete([]byte(name))
		} else {
			err = b.Put([]byte(name), encodeTableRecord(name, value))
		}
		if err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(metaRecords, encodeSeq(uint64(f.totalRecords)))
}

func (d *disk) loadRecords(b *bolt.Bucket, format uint64, want []byte) error {
	if format < formatRecords {
		if b != nil || want != nil {
			return fmt.Errorf("there is a bucket in a file of format %d", format)
		}
		return nil
	}
	if b == nil || len(want) != seqBytes {
		return fmt.Errorf("bucket is there: %t, its count has %d bytes", b != nil, len(want))
	}
	err := b.ForEach(func(k, v []byte) error {
		value, err := decodeTableRecord(k, v)
		if err == nil {
			d.records.Set(string(k), append([]byte{}, value...))
		}
		return err
	})
	if n := binary.BigEndian.Uint64(want); err == nil && n != uint64(d.records.Len()) {
		err = fmt.Errorf("%d records, want %d", d.records.Len(), n)
	}
	return err
}

func scrubTableRecord(_ *bolt.Tx, k, v []byte) error {
	_, err := decodeTableRecord(k, v)
	return err
}

// records compares the tables with what is on disk and pending.
func (c *check) records(tx *bolt.Tx) error {
	found := map[string]string{}
	if b := tx.Bucket(bucketRecords); b != nil {
		err := b.ForEach(func(k, v []byte) error {
			value, err := decodeTableRecord(k, v)
			found[string(k)] = string(value)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, b := range []*buffer{c.s.flushing, c.s.active} {
		if b == nil {
			continue
		}
		for name, value := range b.tables {
			if delete(found, name); value != nil {
				found[name] = string(value)
			}
		}
	}
	if len(found) != c.s.records.Len() {
		return fmt.Errorf("%d records, memory has %d", len(found), c.s.records.Len())
	}
	var err error
	c.s.records.Scan(func(name string, value []byte) bool {
		if got, ok := found[name]; !ok || got != string(value) {
			err = fmt.Errorf("record %q is not what the disk has", name)
		}
		return err == nil
	})
	return err
}
