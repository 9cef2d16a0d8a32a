package store

import bolt "go.etcd.io/bbolt"

// VersionsOnDisk counts what is in the version bucket.
func VersionsOnDisk(s *Store) (n int, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketVersions).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			n++
		}
		return nil
	})
	return n, err
}

// FramesOnDisk counts the frames in a chain's bucket.
func FramesOnDisk(s *Store, origin string) (n int, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err = s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketChains).Bucket([]byte(origin))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, _ []byte) error {
			if len(k) == seqBytes {
				n++
			}
			return nil
		})
	})
	return n, err
}

// LimitFile makes flushes fail that would grow the file beyond its present size, as a full disk does.
func LimitFile(s *Store) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.db.MaxSize = int(s.size.Load())
}

// PendingBytes is what waits for the disk.
func PendingBytes(s *Store) int64 { return s.pendingBytes() }
