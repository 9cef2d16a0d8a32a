package store

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
)

// Config says where a store lives and what it may use.
type Config struct {
	Path string // of the bbolt file; its directory is created

	FlushInterval   time.Duration // longest time that a change waits for the disk; 0 means 100 ms
	FlushBytes      int64         // pending bytes that start a flush early; 0 means 8 MiB
	MaxPendingBytes int64         // pending bytes above which Begin waits; 0 means 64 MiB, at least FlushBytes
	CompactRecords  int           // most records that one flush deletes for compaction and trimming, each; 0 means 4096

	ConflictLogSize  int   // conflicts kept; 0 means 10,000
	ConflictLogBytes int64 // bytes of conflicts kept; 0 means 64 MiB

	WatchBufferEvents int   // events queued for a watcher before it must read history instead; 0 means 4096
	WatchBufferBytes  int64 // bytes of keys and values queued for a watcher; 0 means 4 MiB

	// ScrubInterval is how often the whole file is read for damage, at ScrubRate bytes in a second. 0 means every
	// 24 h and 16 MiB/s; a negative interval means never.
	ScrubInterval time.Duration
	ScrubRate     int64

	// MmapBytes is address space, not memory. While the file fits into it, an open snapshot or a slow reader
	// never makes a flush wait. 0 means 16 GiB; a file beyond that still works, with such waits.
	MmapBytes int

	// Commit ends a flush, fsync included; nil means [bolt.Tx.Commit]. It is the seam at which tests break the disk.
	Commit func(*bolt.Tx) error

	NoSync     bool                  // for tests: a crash of the machine may damage the file
	Logger     *slog.Logger          // nil means off
	Registerer prometheus.Registerer // nil means off
}

const (
	defaultFlushInterval     = 100 * time.Millisecond
	defaultFlushBytes        = 8 << 20
	defaultMaxPendingBytes   = 64 << 20
	defaultCompactRecords    = 4096
	defaultConflictLogSize   = 10_000
	defaultConflictLogBytes  = 64 << 20
	defaultWatchBufferEvents = 4096
	defaultWatchBufferBytes  = 4 << 20
	defaultMmapBytes         = 16 << 30
	defaultScrubInterval     = 24 * time.Hour
	defaultScrubRate         = 16 << 20
)

func (c *Config) validate() error {
	if c.Path == "" {
		return errors.New("store: no path")
	}
	if c.FlushInterval < 0 || c.FlushBytes < 0 || c.MaxPendingBytes < 0 || c.CompactRecords < 0 ||
		c.ConflictLogSize < 0 || c.ConflictLogBytes < 0 || c.WatchBufferEvents < 0 || c.WatchBufferBytes < 0 || c.MmapBytes < 0 || c.ScrubRate < 0 {
		return errors.New("store: negative setting")
	}
	orDefault(&c.FlushInterval, defaultFlushInterval)
	orDefault(&c.FlushBytes, defaultFlushBytes)
	orDefault(&c.MaxPendingBytes, defaultMaxPendingBytes)
	orDefault(&c.CompactRecords, defaultCompactRecords)
	orDefault(&c.ConflictLogSize, defaultConflictLogSize)
	orDefault(&c.ConflictLogBytes, defaultConflictLogBytes)
	orDefault(&c.WatchBufferEvents, defaultWatchBufferEvents)
	orDefault(&c.WatchBufferBytes, defaultWatchBufferBytes)
	orDefault(&c.MmapBytes, defaultMmapBytes)
	orDefault(&c.ScrubInterval, defaultScrubInterval)
	orDefault(&c.ScrubRate, defaultScrubRate)
	c.MaxPendingBytes = max(c.MaxPendingBytes, c.FlushBytes)
	if c.Commit == nil {
		c.Commit = (*bolt.Tx).Commit
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
