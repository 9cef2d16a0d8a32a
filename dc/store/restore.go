package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// Restore replaces everything by the snapshot that r holds, taken at a place in the log. It is durable when
// Restore returns; after an error the store is as it was. Watchers go on from where they are, or end with
// [ErrCompactedAt] where the snapshot has no history that old.
//
// A crash leaves either file whole: the snapshot is complete and synced under another name before it is
// renamed.
func (s *Store) Restore(at Applied, r io.Reader) error {
	tmp := s.cfg.Path + ".restore"
	if err := receive(&s.cfg, tmp, at, r); err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), os.Remove(tmp))
	}
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writableLocked(); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, s.cfg.Path); err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), os.Remove(tmp))
	}
	// From here on the file is the new one; without it the store can't go on.
	d, err := s.reopen()
	if err != nil {
		s.failLocked(fmt.Errorf("restore: %w", err))
		return s.err
	}
	s.rewrite.cancel() // it copies what is no longer true
	s.rewrite = nil
	old, open := s.db, s.takeSnapshotsLocked()
	s.adopt(d)
	s.hub.resync()
	s.roomy.Broadcast()
	s.fireChanged()
	for _, o := range open {
		o.stop(errReplaced)
	}
	// Waits for the short reads that are under way in the old file.
	if err := old.Close(); err != nil {
		s.log.Warn("could not close the replaced database", "path", s.cfg.Path, "error", err)
	}
	return nil
}

var errReplaced = errors.New("database was replaced by a snapshot")

// Verify reads a snapshot taken at a place in the log, as Restore would, and says what is wrong with it. It needs
// the room of one copy in the directory of cfg.Path and changes nothing.
func Verify(cfg Config, at Applied, r io.Reader) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), dirMode); err != nil {
		return err
	}
	tmp := cfg.Path + ".verify"
	return errors.Join(receive(&cfg, tmp, at, r), os.Remove(tmp))
}

// receive writes the snapshot to a file and checks all of it.
func receive(cfg *Config, path string, at Applied, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	size, err := io.Copy(f, r)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	d, err := examine(path, cfg)
	if err != nil {
		return err
	}
	if d.size != size {
		return fmt.Errorf("snapshot has %d bytes, its database %d", size, d.size)
	}
	if d.applied.Index != at.Index || d.applied.Term != at.Term {
		return fmt.Errorf("snapshot holds index %d of term %d, not index %d of term %d", d.applied.Index, d.applied.Term, at.Index, at.Term)
	}
	// The membership is consensus' to say: the snapshot may have been taken before it was stored.
	db, err := openBolt(path, cfg)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		m := tx.Bucket(bucketMeta)
		if err := m.Put(metaApplied, encodeApplied(at)); err != nil {
			return err
		}
		return m.Put(metaSum, encodeSeq(smallSum(tx)))
	})
	return errors.Join(err, db.Close())
}

func (s *Store) reopen() (*disk, error) {
	if err := syncDir(filepath.Dir(s.cfg.Path)); err != nil {
		return nil, err
	}
	return openDisk(&s.cfg)
}
