package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// copyBytes is how much a defragmentation copies in one transaction.
	copyBytes = 4 << 20
	// rewriteSuffix ends the name of the file until it is complete.
	rewriteSuffix = ".defrag"
	// replayRounds is how often it catches up with what was flushed meanwhile before it holds the flusher.
	replayRounds = 10
)

// rewrite is a defragmentation under way: the flights that were written since its copy began. It holds at most
// limit bytes of them; beyond that the flusher waits, and what is applied waits in memory, up to
// MaxPendingBytes.
type rewrite struct {
	ctx     context.Context
	stop    context.CancelFunc
	limit   int64
	flights []*flight // guarded by the store's flushMu, as below
	bytes   int64
	taken   chan struct{} // closed and replaced when flights were taken
}

func (r *rewrite) add(f *flight) {
	if r != nil {
		r.flights = append(r.flights, f)
		r.bytes += f.bytes + overhead
	}
}

func (r *rewrite) cancel() {
	if r != nil {
		r.stop()
	}
}

// Defragment writes the database anew into another file without its free pages, and puts that in the place of
// the old one. Reads and writes go on meanwhile: what is flushed during the copy is written to the new file
// too, and the flusher is held only for the last of that and the exchange. A crash leaves either file whole,
// because the new one is complete and synced before it is renamed. It ends early with ctx, and when a snapshot
// replaces the database; the old file is in use then as before.
func (s *Store) Defragment(ctx context.Context) (err error) {
	start, before := time.Now(), s.DBSize()
	path := s.cfg.Path + rewriteSuffix
	r, tx, err := s.beginRewrite(ctx, path)
	if err != nil {
		return fmt.Errorf("defragment: %w", err)
	}
	defer r.stop()
	db, err := s.newFile(path)
	if err == nil {
		err = copyDatabase(r.ctx, tx, db)
	}
	rollback(tx)
	if err == nil {
		err = s.catchUp(r, db)
	}
	if err == nil {
		err = s.exchange(r, db, path)
	}
	if err != nil {
		s.endRewrite(r)
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		return fmt.Errorf("defragment: the database is as it was: %w", errors.Join(err, removed(path)))
	}
	s.log.Info("database was defragmented", "path", s.cfg.Path, "bytes_before", before, "bytes", s.DBSize(), "seconds", time.Since(start).Seconds())
	return nil
}

// beginRewrite opens the state to copy. Every flight that is not in it is kept from here on.
func (s *Store) beginRewrite(ctx context.Context, path string) (*rewrite, *bolt.Tx, error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	if s.rewrite != nil {
		return nil, nil, ErrBusy
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.writableLocked(); err != nil {
		return nil, nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, nil, err
	}
	r := &rewrite{limit: s.cfg.MaxPendingBytes, taken: make(chan struct{})}
	r.ctx, r.stop = context.WithCancel(ctx)
	context.AfterFunc(r.ctx, func() { s.endRewrite(r) })
	s.rewrite = r
	return r, tx, nil
}

// endRewrite lets the flusher go on as ever.
func (s *Store) endRewrite(r *rewrite) {
	r.stop()
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	if s.rewrite == r {
		s.rewrite = nil
	}
	r.flights = nil
}

// newFile opens the file that is to be the store's. Until it is complete nothing of it is synced.
func (s *Store) newFile(path string) (*bolt.DB, error) {
	db, err := openBolt(path, &s.cfg)
	if err == nil {
		db.NoSync = true
	}
	return db, err
}

// copyDatabase copies all buckets in order of their keys, so that pages are filled.
func copyDatabase(ctx context.Context, from *bolt.Tx, to *bolt.DB) error {
	c := &copier{ctx: ctx, db: to}
	err := from.ForEach(func(name []byte, b *bolt.Bucket) error { return c.bucket([][]byte{name}, b) })
	if err == nil {
		err = c.commit()
	}
	if c.tx != nil {
		_ = c.tx.Rollback() // the error that matters is err
	}
	return err
}

// copier writes in transactions of about copyBytes.
type copier struct {
	ctx   context.Context
	db    *bolt.DB
	tx    *bolt.Tx // nil between two transactions
	bytes int
}

func (c *copier) commit() error {
	if c.tx == nil {
		return nil
	}
	tx := c.tx
	c.tx, c.bytes = nil, 0
	return tx.Commit()
}

// at finds or makes the bucket of a path in the transaction of now.
func (c *copier) at(path [][]byte) (*bolt.Bucket, error) {
	if c.tx == nil {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if c.tx, err = c.db.Begin(true); err != nil {
			return nil, err
		}
	}
	b, err := c.tx.CreateBucketIfNotExists(path[0])
	for _, name := range path[1:] {
		if err != nil {
			return nil, err
		}
		b, err = b.CreateBucketIfNotExists(name)
	}
	if err != nil {
		return nil, err
	}
	b.FillPercent = appendFill
	return b, nil
}

func (c *copier) bucket(path [][]byte, from *bolt.Bucket) error {
	to, err := c.at(path) // an empty one is copied, too
	if err != nil {
		return err
	}
	for k, v := range each(from) {
		if v == nil {
			if err := c.bucket(append(slices.Clone(path), k), from.Bucket(k)); err != nil {
				return err
			}
			if to, err = c.at(path); err != nil {
				return err
			}
			continue
		}
		if err := to.Put(k, v); err != nil {
			return err
		}
		if c.bytes += len(k) + len(v); c.bytes < copyBytes {
			continue
		}
		if err := c.commit(); err != nil {
			return err
		}
		if to, err = c.at(path); err != nil {
			return err
		}
	}
	return nil
}

// each goes over a bucket in order; the value of a bucket inside is nil.
func each(b *bolt.Bucket) func(yield func(k, v []byte) bool) {
	return func(yield func(k, v []byte) bool) {
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// catchUp writes what was flushed meanwhile, until there is little left, and syncs it.
func (s *Store) catchUp(r *rewrite, db *bolt.DB) error {
	for range replayRounds {
		s.flushMu.Lock()
		flights, bytes := r.flights, r.bytes
		r.take()
		s.flushMu.Unlock()
		if err := s.replay(r.ctx, db, flights); err != nil {
			return err
		}
		if bytes < copyBytes {
			break
		}
	}
	return db.Sync()
}

// take empties the list. The caller holds flushMu and has the flights.
func (r *rewrite) take() {
	r.flights, r.bytes = nil, 0
	close(r.taken)
	r.taken = make(chan struct{})
}

func (s *Store) replay(ctx context.Context, db *bolt.DB, flights []*flight) error {
	for _, f := range flights {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := s.write(db, f); err != nil {
			return err
		}
	}
	return nil
}

// exchange holds the flusher, writes the last flights, and makes the new file the store's. Readers of the old
// one keep it until they end.
func (s *Store) exchange(r *rewrite, db *bolt.DB, path string) error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if err := s.replay(r.ctx, db, r.flights); err != nil {
		return err
	}
	if db.NoSync = s.cfg.NoSync; !db.NoSync {
		if err := db.Sync(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writableLocked(); err != nil {
		return err
	}
	if err := os.Rename(path, s.cfg.Path); err != nil {
		return err
	}
	old := s.db
	s.db, s.rewrite = db, nil
	s.retired.Go(func() {
		if err := old.Close(); err != nil {
			s.log.Warn("could not close the replaced database", "path", s.cfg.Path, "error", err)
		}
	})
	s.measure()
	if err := syncDir(filepath.Dir(s.cfg.Path)); err != nil {
		// A crash now may bring the old name back, and with it a file that no flush reaches any more.
		s.failLocked(fmt.Errorf("defragment: %w", err))
		return nil
	}
	return nil
}

// holdLocked waits while a defragmentation has as much to catch up with as it may. The caller holds flushMu.
func (s *Store) holdLocked() {
	for r := s.rewrite; r != nil && r == s.rewrite && r.bytes > r.limit && r.ctx.Err() == nil; {
		taken := r.taken
		s.flushMu.Unlock()
		select {
		case <-taken:
		case <-r.ctx.Done():
		case <-s.closing:
		}
		s.flushMu.Lock()
		select {
		case <-s.closing:
			return
		default:
		}
	}
}
