package store

import (
	"errors"

	bolt "go.etcd.io/bbolt"
)

// ExportedRequest is a remembered request; its number is its place in the order in which they came.
type ExportedRequest struct {
	Number uint64
	ID     []byte
	Record []byte
}

// ExportedRequests is a run of remembered requests, oldest first.
type ExportedRequests struct {
	Requests []ExportedRequest
	Last     uint64 // number up to which all that is remembered is in Requests
	Done     bool   // nothing up to the bound is behind Last
	Index    uint64 // of the log: the state includes nothing behind it
}

// errBehind says that what was asked for is in the log and has not been applied here yet.
var errBehind = errors.New("requests up to there have not been applied here yet")

// RequestTotal is the number of the newest remembered request; 0 when nothing is remembered.
func (s *Store) RequestTotal() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.requests.ids) == 0 {
		return 0
	}
	return s.requests.total
}

// ExportRequests reads the remembered requests behind a number up to another one, about maxBytes of them, at
// least one if there is any. Those that were forgotten meanwhile are left out.
func (s *Store) ExportRequests(after, upTo uint64, maxBytes int) (ExportedRequests, error) {
	out, tx, err := s.lookForRequests(after, upTo)
	if err != nil {
		return ExportedRequests{}, err
	}
	if tx != nil {
		defer rollback(tx)
	}
	size := 0
	for i := range out.Requests {
		r := &out.Requests[i]
		if size >= maxBytes && i > 0 {
			out.Requests, out.Last, out.Done = out.Requests[:i], out.Requests[i-1].Number, false
			return out, nil
		}
		if r.ID == nil {
			err := s.reading(func() error {
				id, record, err := readRequest(tx.Bucket(bucketRequests), r.Number)
				r.ID, r.Record = append([]byte{}, id...), append([]byte{}, record...)
				return err
			})
			if err != nil {
				return ExportedRequests{}, err
			}
		}
		size += len(r.ID) + len(r.Record)
	}
	return out, nil
}

// lookForRequests lists up to exportStep of them. The transaction is not nil when some must be read from disk.
func (s *Store) lookForRequests(after, upTo uint64) (out ExportedRequests, tx *bolt.Tx, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return out, nil, err
	}
	l := &s.requests
	if upTo > l.total {
		return out, nil, errBehind
	}
	out.Index, out.Last, out.Done = s.applied.Index, upTo, true
	disk := false
	for n := max(after+1, l.first()); n <= upTo; n++ {
		if len(out.Requests) == exportStep {
			out.Last, out.Done = n-1, false
			break
		}
		if l.seqs[l.ids[n-l.first()]] != n {
			continue // a newer one has taken its place
		}
		e := ExportedRequest{Number: n}
		for _, buf := range []*buffer{s.active, s.flushing} {
			if r := buf.request(n); r != nil {
				e.ID, e.Record = r.id, r.record
			}
		}
		disk = disk || e.ID == nil
		out.Requests = append(out.Requests, e)
	}
	if disk {
		tx, err = s.db.Begin(false)
	}
	return out, tx, err
}

// RequestCount is how many requests are remembered.
func (b *Batch) RequestCount() int { return len(b.s.requests.ids) }

// OldRequest is the record of one of the oldest remembered requests: 0 is the oldest.
func (b *Batch) OldRequest(i int) ([]byte, error) { return b.Request([]byte(b.s.requests.ids[i])) }
