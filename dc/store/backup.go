package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// sectorBytes divides the length of every bbolt file; what is over it in a backup is the checksum.
const sectorBytes = 512

// Unpack writes the database in a backup to path, which must not exist, and checks it: a backup is the file as
// [Store.Snapshot] gives it, with its SHA-256 behind it, which is what `etcdctl snapshot save` writes. Errors
// wrap [ErrBackup].
func Unpack(backup, path string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w: %s: %w", ErrBackup, backup, err), removed(path))
		}
	}()
	in, err := os.Open(backup)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if info.Size()%sectorBytes != sha256.Size {
		return fmt.Errorf("its %d bytes do not end with a checksum: it was cut short, or copied from a data directory; take one with `etcdctl snapshot save`", info.Size())
	}
	if err := copyChecked(in, info.Size()-sha256.Size, path); err != nil {
		return err
	}
	if err := checkOurs(path); err != nil {
		return err
	}
	cfg := Config{Path: path}
	if err := cfg.validate(); err != nil {
		return err
	}
	_, err = examine(path, &cfg)
	return err
}

// removed is nil when the file is gone.
func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func copyChecked(in io.Reader, size int64, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.CopyN(io.MultiWriter(out, sum), in, size)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	want, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if got := sum.Sum(nil); !bytes.Equal(got, want) {
		return fmt.Errorf("its SHA-256 is %x, and it says %x: it is damaged; take another backup", got, want)
	}
	return nil
}

// checkOurs tells the files of others: an etcd snapshot is a bbolt file, too.
func checkOurs(path string) error {
	db, err := openReadOnly(path)
	if err != nil {
		return err
	}
	err = guarded(func() error {
		return db.View(func(tx *bolt.Tx) error {
			switch {
			case tx.Bucket([]byte("key")) != nil && tx.Bucket([]byte("members")) != nil:
				return errEtcd
			case tx.Bucket(bucketVersions) == nil:
				return errors.New("it is a database, but not one of geogate")
			}
			return nil
		})
	})
	return errors.Join(err, db.Close())
}

var errEtcd = errors.New("it is a snapshot of etcd, which has another format: restore it with `etcdutl snapshot restore`, start etcd on it, and copy its keys with `etcdctl make-mirror`")

// Leap moves the revision forward without writing anything, and drops the history before it: whoever knows
// a revision of before finds it compacted.
func (b *Batch) Leap(by int64) {
	b.s.revision += by
	b.s.compacted = b.s.revision
}

// Rename gives a closed database its name, durably.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}
