package store

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// healAdvice says what to do about a damaged file. A file that fails to be read once is not to be trusted with the
// next write, so there is no way that keeps it.
const healAdvice = "check the disk, then start this node with --rebuild to replace the file by a copy from another node of its datacenter; " +
	"a datacenter of one node is restored from a backup, or started with an empty directory to get a snapshot from the other datacenters"

// harm is damage that was found while the store was open. It ends the store: what else is damaged is unknown.
type harm struct {
	once  sync.Once
	found chan struct{} // closed with the first
	err   atomic.Pointer[error]
}

func (h *harm) error() error {
	if p := h.err.Load(); p != nil {
		return *p
	}
	return nil
}

// reading reads from the file. Whatever goes wrong is damage, for what is asked for was there when the store was
// opened or was written since: a wrong checksum, a record that is missing, or a panic of bbolt's.
func (s *Store) reading(fn func() error) error {
	if err := guarded(fn); err != nil {
		return s.harmed(err)
	}
	return nil
}

// harmed notes damage and describes it. The store takes no more writes, and Run returns.
func (s *Store) harmed(err error) error {
	err = damage(s.cfg.Path, err)
	s.harm.once.Do(func() {
		broken := fmt.Errorf("%w: %w", ErrBroken, err)
		s.harm.err.Store(&broken)
		s.log.Error("the database is damaged; the store takes no more writes", "path", s.cfg.Path, "error", err)
		close(s.harm.found)
		s.roomy.Broadcast()
	})
	return err
}

// Problem is why the store takes no more writes, nil while it does. To be closed is no problem.
func (s *Store) Problem() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.err != nil {
		return s.err
	}
	return s.harm.error()
}
