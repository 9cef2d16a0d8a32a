package store

import (
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// forgetPages tells the kernel that the pages of the file which opening has read need not stay mapped.
// They stay in the page cache, where memory pressure can take them; mapped, they count as the process's
// own. It is advice only: whatever it answers, reads work.
func forgetPages(db *bolt.DB, size int64) {
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, db.Info().Data, uintptr(size), syscall.MADV_DONTNEED)
}
