package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
)

// requestLog remembers client requests by their ids: a queue on disk, bounded by number, and in memory the
// place of each id in it.
type requestLog struct {
	total uint64   // ever remembered: the number of the newest
	ids   []string // of those kept, oldest first
	seqs  map[string]uint64
}

// request is one that is not on disk yet.
type request struct {
	seq    uint64
	id     []byte
	record []byte
}

func newRequestLog() requestLog { return requestLog{seqs: map[string]uint64{}} }

// first is the number of the oldest one kept.
func (l *requestLog) first() uint64 { return l.total - uint64(len(l.ids)) + 1 }

func (l *requestLog) add(id string) {
	l.total++
	l.ids = append(l.ids, id)
	l.seqs[id] = l.total
}

// shrink drops the oldest ones until at most `keep` are left.
func (l *requestLog) shrink(keep int) {
	for len(l.ids) > keep {
		if id := l.ids[0]; l.seqs[id] == l.first() {
			delete(l.seqs, id)
		}
		l.ids[0] = "" // the array stays for a while
		l.ids = l.ids[1:]
	}
}

// Remember keeps a record under an id that is not there yet, and forgets the oldest ones beyond `keep`: what
// is kept depends on nothing but the order of the calls. The record is kept, not copied.
func (b *Batch) Remember(id, record []byte, keep int) {
	s := b.s
	if _, ok := s.requests.seqs[asString(id)]; ok {
		panic(fmt.Sprintf("store: request %q is remembered already", id))
	}
	b.RememberAnew(id, record, keep)
}

// RememberAnew is Remember where a record may be kept already under the id: the newest counts.
func (b *Batch) RememberAnew(id, record []byte, keep int) {
	s := b.s
	s.requests.add(string(id))
	s.requests.shrink(keep)
	s.active.requests = append(s.active.requests, request{seq: s.requests.total, id: id, record: record})
	s.active.bytes += int64(2*len(id)+len(record)) + overhead
}

// Request is the record kept under an id, nil when there is none. It must not be changed.
func (b *Batch) Request(id []byte) ([]byte, error) {
	seq, ok := b.s.requests.seqs[asString(id)]
	if !ok {
		return nil, nil
	}
	for _, buf := range []*buffer{b.s.active, b.s.flushing} {
		if r := buf.request(seq); r != nil {
			return r.record, nil
		}
	}
	r, err := b.reader()
	if err != nil {
		return nil, err
	}
	var record []byte
	err = b.s.reading(func() error {
		got, raw, err := readRequest(r.tx.Bucket(bucketRequests), seq)
		if err == nil && string(got) != string(id) {
			err = fmt.Errorf("request %d is %q, not %q", seq, got, id)
		}
		record = append([]byte{}, raw...)
		return err
	})
	return record, err
}

// request finds one by its number; a buffer's numbers have no gap.
func (b *buffer) request(seq uint64) *request {
	if b == nil || len(b.requests) == 0 || seq < b.requests[0].seq {
		return nil
	}
	if i := seq - b.requests[0].seq; i < uint64(len(b.requests)) {
		return &b.requests[i]
	}
	return nil
}

// Requests is the number of requests that are remembered.
func (s *Store) Requests() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.requests.ids)
}

// appendRequest writes a request's body; the checksum covers its number too.
func appendRequest(b []byte, r *request) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = appendBytes(b, r.id)
	b = append(b, r.record...)
	binary.LittleEndian.PutUint32(b[start:], numberedSum(r.seq, b[start+sumBytes:]))
	return b
}

// numberedSum is the checksum of a record that lies under a number.
func numberedSum(seq uint64, body []byte) uint32 {
	h := xxhash.Sum64(body) ^ seq*0x9e3779b97f4a7c15
	return uint32(h) ^ uint32(h>>32)
}

// readRequest returns slices of the page.
func readRequest(b *bolt.Bucket, seq uint64) (id, record []byte, err error) {
	if b == nil {
		return nil, nil, errors.New("no bucket of requests")
	}
	return decodeRequest(seq, b.Get(encodeSeq(seq)))
}

func decodeRequest(seq uint64, v []byte) (id, record []byte, err error) {
	if len(v) < sumBytes+1 {
		return nil, nil, fmt.Errorf("request %d: %w", seq, errShort)
	}
	if got, want := numberedSum(seq, v[sumBytes:]), binary.LittleEndian.Uint32(v); got != want {
		return nil, nil, fmt.Errorf("request %d has checksum %08x, want %08x", seq, got, want)
	}
	d := decoder{b: v[sumBytes:]}
	if id = d.bytes(); d.err != nil {
		return nil, nil, fmt.Errorf("request %d: %w", seq, d.err)
	}
	return id, d.b, nil
}

// writeRequests appends what is new and deletes what was forgotten. The bounds that are stored beside say
// exactly what is kept, so a file gives the same table whatever the flushes were.
func writeRequests(tx *bolt.Tx, f *flight) error {
	if len(f.requests) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketRequests)
	if err != nil {
		return err
	}
	b.FillPercent = appendFill
	for i := range f.requests {
		r := &f.requests[i]
		if r.seq < f.firstRequest {
			continue
		}
		if err := b.Put(encodeSeq(r.seq), appendRequest(nil, r)); err != nil {
			return err
		}
	}
	// A queue that is full drops as many as it takes; after its bound was lowered it takes a few flushes longer.
	if _, err := deleteUpTo(b, f.firstRequest-1, len(f.requests)+conflictSweep); err != nil {
		return err
	}
	bounds := append(encodeSeq(f.firstRequest), encodeSeq(f.requestTotal)...)
	return tx.Bucket(bucketMeta).Put(metaRequests, bounds)
}

// loadRequests reads the queue. A file of a store that was never given a request has neither the bucket nor
// the bounds.
func (d *disk) loadRequests(b *bolt.Bucket, bounds []byte) error {
	if bounds == nil {
		return nil
	}
	if len(bounds) != 2*seqBytes || b == nil {
		return fmt.Errorf("bounds have %d bytes, bucket is there: %t", len(bounds), b != nil)
	}
	first, total := binary.BigEndian.Uint64(bounds), binary.BigEndian.Uint64(bounds[seqBytes:])
	if first == 0 {
		return errors.New("numbers begin at 0")
	}
	l := &d.requests
	l.total = first - 1
	c := b.Cursor()
	for k, v := c.Seek(encodeSeq(first)); k != nil; k, v = c.Next() {
		if len(k) != seqBytes || binary.BigEndian.Uint64(k) != l.total+1 {
			return fmt.Errorf("entry %x where number %d belongs", k, l.total+1)
		}
		id, _, err := decodeRequest(l.total+1, v)
		if err != nil {
			return err
		}
		l.add(string(id))
	}
	if l.total != total {
		return fmt.Errorf("the newest is number %d, want %d", l.total, total)
	}
	return nil
}
