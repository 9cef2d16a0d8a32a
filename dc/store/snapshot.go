package store

import (
	"errors"
	"fmt"
	"io"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// snapshot streams the file as one read transaction sees it. While it is open, pages that it needs are not
// reused; nothing else waits for it.
type snapshot struct {
	s    *Store
	r    *io.PipeReader
	once sync.Once
	done chan struct{} // the transaction has ended
}

// Snapshot opens a copy of the durable state: the place in the log that it includes, its size in bytes and
// a reader, which must be closed.
func (s *Store) Snapshot() (at Applied, size int64, rc io.ReadCloser, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return at, 0, nil, ErrClosed
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return at, 0, nil, fmt.Errorf("snapshot: %w", err)
	}
	if at, err = decodeApplied(tx.Bucket(bucketMeta).Get(metaApplied)); err != nil {
		rollback(tx)
		return at, 0, nil, fmt.Errorf("snapshot: %w", s.harmed(err))
	}
	r, w := io.Pipe()
	o := &snapshot{s: s, r: r, done: make(chan struct{})}
	s.snapshots[o] = struct{}{}
	go o.copy(tx, w)
	return at, tx.Size(), o, nil
}

func (o *snapshot) copy(tx *bolt.Tx, w *io.PipeWriter) {
	defer close(o.done)
	defer rollback(tx)
	_, err := tx.WriteTo(w)
	w.CloseWithError(err) // nil is the end of the file
}

func (o *snapshot) Read(p []byte) (int, error) { return o.r.Read(p) }

// Close ends the copy, complete or not.
func (o *snapshot) Close() error {
	o.s.mu.Lock()
	delete(o.s.snapshots, o)
	o.s.mu.Unlock()
	o.stop(io.ErrClosedPipe)
	return nil
}

// stop makes reads fail with err and waits until the transaction has ended.
func (o *snapshot) stop(err error) {
	o.once.Do(func() { o.r.CloseWithError(errors.Join(err)) })
	<-o.done
}

// takeSnapshotsLocked empties the list of open snapshots; the caller stops them.
func (s *Store) takeSnapshotsLocked() []*snapshot {
	var open []*snapshot
	for o := range s.snapshots {
		open = append(open, o)
	}
	clear(s.snapshots)
	return open
}
