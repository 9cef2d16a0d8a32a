package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// formatVersion is the version of the file's format that this build writes; it reads those from oldestFormat on.
// A file becomes one of this version with the first flush, and one of formatSystem with the first entry in its
// system table: a build that does not know the table would serve without its users. The first of the records
// (homes of keyspaces) makes it one of formatRecords likewise. See README.md.
const (
	formatVersion = 2
	formatSystem  = 3
	formatRecords = 4
	oldestFormat  = 1
	lastFormat    = formatRecords
)

const (
	seqBytes      = 8
	appendFill    = 1.0 // pages of buckets that only grow at the end are filled
	conflictSweep = 256 // conflicts deleted by a flush beyond those that it adds
	lockTimeout   = time.Second
	fileMode      = 0o600
	dirMode       = 0o700
)

var (
	bucketMeta      = []byte("meta")
	bucketState     = []byte("state")
	bucketOrigins   = []byte("origins")
	bucketVersions  = []byte("versions")
	bucketGraves    = []byte("graves")
	bucketChains    = []byte("chains")
	bucketConflicts = []byte("conflicts")
	bucketRequests  = []byte("requests") // made when the first is remembered
	bucketLeases    = []byte("leases")   // made when the first is granted
	bucketSystem    = []byte("system")   // made with the first entry
	bucketRecords   = []byte("records")  // likewise

	metaFormat    = []byte("format")
	metaApplied   = []byte("applied")
	metaRevision  = []byte("revision")
	metaCompacted = []byte("compacted")
	metaConflicts = []byte("conflicts")
	metaRequests  = []byte("requests")
	metaLeases    = []byte("leases")
	metaVersions  = []byte("versions")
	metaGraves    = []byte("graves")
	metaChains    = []byte("chains")
	metaPlain     = []byte("plain conflicts")
	metaDigest    = []byte("digest")
	metaSystem    = []byte("system")
	metaRecords   = []byte("records")
	metaSum       = []byte("sum")

	// chainHeadKey is shorter than a frame's key and greater than any: it stays behind them.
	chainHeadKey = []byte{0xff, 'h', 'e', 'a', 'd'}
)

// buckets are those that every file has.
func buckets() [][]byte {
	return [][]byte{bucketMeta, bucketState, bucketOrigins, bucketVersions, bucketGraves, bucketChains, bucketConflicts}
}

func encodeSeq(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// openDisk opens the file, creating it if need be, and reads it. bbolt itself ends the process when it
// meets a damaged page while it opens for writing, so all pages are checked through a read-only handle first,
// in a way that turns damage into an error. Records are read last: opening for writing looks at all pages for free
// ones, which maps the whole file, and that must not come on top of the memory that the records take.
func openDisk(cfg *Config) (*disk, error) {
	if err := os.MkdirAll(filepath.Dir(cfg.Path), dirMode); err != nil {
		return nil, err
	}
	if _, err := os.Stat(cfg.Path); errors.Is(err, fs.ErrNotExist) {
		if err := create(cfg); err != nil {
			return nil, fmt.Errorf("create %s: %w", cfg.Path, err)
		}
	} else if err != nil {
		return nil, err
	}
	// Another process may write between the two opens; then what was read is stale and is read again.
	for range 3 {
		d, err := inspect(cfg.Path, func(*disk, *bolt.Tx) error { return nil })
		if err != nil {
			return nil, err
		}
		db, err := openBolt(cfg.Path, cfg)
		if err != nil {
			return nil, err
		}
		at, size, err := lastTx(db)
		if err == nil && at == d.txid {
			forgetPages(db, size)
			if err := d.read(db, cfg); err != nil {
				return nil, errors.Join(err, db.Close())
			}
			if err := removed(cfg.Path + rewriteSuffix); err != nil { // of a defragmentation that a crash ended
				return nil, errors.Join(err, db.Close())
			}
			return d, nil
		}
		if err := errors.Join(err, db.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", cfg.Path, err)
		}
	}
	return nil, inUse(cfg.Path)
}

func openBolt(path string, cfg *Config) (*bolt.DB, error) {
	return openOptions(path, &bolt.Options{
		Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		InitialMmapSize: cfg.MmapBytes, NoSync: cfg.NoSync, NoGrowSync: cfg.NoSync,
	})
}

func openReadOnly(path string) (*bolt.DB, error) {
	return openOptions(path, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
}

// openOptions closes the file, and so gives up its lock, also where bbolt panics: it does so when it looks
// for free pages and the tree of pages is not consistent.
func openOptions(path string, o *bolt.Options) (db *bolt.DB, err error) {
	var file *os.File
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	err = guarded(func() error {
		db, err = bolt.Open(path, fileMode, o)
		return err
	})
	if errors.Is(err, errPanic) && file != nil {
		err = errors.Join(err, unlock(file), file.Close())
	}
	return db, openError(path, err)
}

// examine reads the whole file without write access.
func examine(path string, cfg *Config) (*disk, error) {
	return inspect(path, func(d *disk, tx *bolt.Tx) error { return d.load(tx, cfg) })
}

// inspect checks all pages without write access, and does more then.
func inspect(path string, more func(*disk, *bolt.Tx) error) (*disk, error) {
	db, err := openReadOnly(path)
	if err != nil {
		return nil, err
	}
	d := newDisk()
	err = guarded(func() error {
		return db.View(func(tx *bolt.Tx) error {
			if err := checkPages(path, tx); err != nil {
				return err
			}
			if err := d.header(tx); err != nil {
				return err
			}
			return more(d, tx)
		})
	})
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, refusal(path, err)
	}
	return d, nil
}

// read reads all records of a file that was examined.
func (d *disk) read(db *bolt.DB, cfg *Config) error {
	d.db = db
	err := guarded(func() error {
		return db.View(func(tx *bolt.Tx) error { return d.load(tx, cfg) })
	})
	forgetPages(db, d.size)
	if err != nil {
		return refusal(cfg.Path, err)
	}
	return nil
}

func refusal(path string, err error) error {
	if errors.Is(err, ErrFormat) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return damage(path, err)
}

func openError(path string, err error) error {
	var refused *fs.PathError
	var errno syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, berrors.ErrTimeout):
		return inUse(path)
	case errors.As(err, &refused), errors.As(err, &errno):
		return fmt.Errorf("%s: %w", path, err)
	}
	return damage(path, err) // bbolt did not like what it has read
}

func damage(path string, err error) error {
	return fmt.Errorf("%s: %w: %w; %s", path, ErrDamaged, err, healAdvice)
}

func inUse(path string) error {
	return fmt.Errorf("%s: %w: stop that process, or give this one a directory of its own", path, ErrInUse)
}

var errPanic = errors.New("unreadable")

// guarded runs fn and turns its panics into errors: bbolt's assertions about pages, and accesses beyond the
// end of a file that was cut short.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return fn()
}

// lastTx is the number of the last transaction, and the size of the file as of it.
func lastTx(db *bolt.DB) (id int, size int64, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		id, size = tx.ID(), tx.Size()
		return nil
	})
	return id, size, err
}

// create makes an empty store under another name and renames it: a file with the right name is complete.
func create(cfg *Config) error {
	tmp := cfg.Path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(tmp, fileMode, &bolt.Options{Timeout: lockTimeout, NoFreelistSync: true, NoSync: cfg.NoSync, NoGrowSync: cfg.NoSync})
	if err != nil {
		return openError(tmp, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		m := tx.Bucket(bucketMeta)
		err := errors.Join(
			m.Put(metaFormat, encodeSeq(formatVersion)),
			m.Put(metaRevision, encodeSeq(firstRevision)),
			m.Put(metaCompacted, encodeSeq(0)),
			m.Put(metaConflicts, encodeSeq(0)),
			m.Put(metaPlain, encodeSeq(0)),
			m.Put(metaDigest, encodeSeq(0)),
			m.Put(metaVersions, encodeSeq(0)),
			m.Put(metaGraves, encodeSeq(0)),
			m.Put(metaChains, encodeSeq(0)),
			m.Put(metaApplied, encodeApplied(Applied{})),
		)
		return errors.Join(err, m.Put(metaSum, encodeSeq(smallSum(tx))))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, cfg.Path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(cfg.Path))
}

// syncDir makes a rename in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
