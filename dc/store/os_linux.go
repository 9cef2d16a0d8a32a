package store

import (
	"os"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// forgetPages tells the kernel that the pages of the file which were read need not stay mapped. They stay in
// the page cache, where memory pressure can take them; mapped, they count as the process's own. It is advice
// only: whatever it answers, reads work.
func forgetPages(db *bolt.DB, size int64) {
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, db.Info().Data, uintptr(size), syscall.MADV_DONTNEED)
}

// unlock gives up a lock on a file that stays mapped: closing it alone would keep the lock.
func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
