package store

import (
	"errors"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// Copy writes the database of a store that is not open to another path, which must not exist, durably.
func Copy(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), dirMode); err != nil {
		return err
	}
	db, err := openReadOnly(from)
	if err != nil {
		return err
	}
	err = guarded(func() error {
		return db.View(func(tx *bolt.Tx) error {
			out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
			if err != nil {
				return err
			}
			_, err = tx.WriteTo(out)
			return errors.Join(err, out.Sync(), out.Close())
		})
	})
	return errors.Join(err, db.Close(), syncDir(filepath.Dir(to)))
}
