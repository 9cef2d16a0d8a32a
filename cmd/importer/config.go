package importer

import (
	"cmp"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Config is one import. Clients are the caller's to close.
type Config struct {
	From, To *clientv3.Client

	Prefix   string // of the keys to copy; "" copies all
	ToPrefix string // takes the place of Prefix at the destination; the same when both are ""
	// Merge allows a destination with other keys. Those are left alone, and so are keys that the source deletes
	// while no importer follows it.
	Merge  bool
	Follow bool   // go on following until ctx ends, instead of ending when both sides are equal
	Policy string // geogate's policy of the writes; "" means the keyspace's

	PageKeys  int           // keys read at a time, 1,000 when 0
	TxnOps    int           // writes in one transaction, 128 when 0: the default limit of etcd and geogate
	TxnBytes  int           // keys and values in one transaction, about; 512 KiB when 0
	Patience  time.Duration // with an endpoint that does not answer, 1 min when 0
	MaxPasses int           // in a row that end without agreement, 10 when 0

	Report func(Progress) // called after each page, batch and change; nil: nobody is told
	Logger *slog.Logger   // nil: off
}

// Phases of an import.
const (
	PhaseCopy   = "copy"   // comparing and writing what differs
	PhaseFollow = "follow" // applying the source's changes as they come
	PhaseVerify = "verify" // comparing only
)

// Progress is where an import stands.
type Progress struct {
	Phase string
	// Keys that were compared in this pass, and how many the source has.
	Keys, Total int64
	// Written counts keys put and deleted at the destination since the start.
	Written int64
	// Revision is the source's revision up to which the destination has everything; 0 before the first pass
	// is over. SourceRevision is the newest one that was heard of.
	Revision, SourceRevision int64
}

// Result is what an import did.
type Result struct {
	Keys     int64 `json:"keys"`     // at the source, at its end
	Written  int64 `json:"written"`  // puts and deletes at the destination
	Leases   int   `json:"leases"`   // made at the destination
	Passes   int   `json:"passes"`   // over all keys, the verification included
	Revision int64 `json:"revision"` // of the source, up to which the destination has everything
	Verified bool  `json:"verified"` // both sides were found equal at that revision
	// SplitRevisions counts transactions of the source that were too large for one here.
	SplitRevisions int64 `json:"split_revisions"`
}

func (c Config) withDefaults() Config {
	c.ToPrefix = cmp.Or(c.ToPrefix, c.Prefix)
	c.PageKeys = cmp.Or(c.PageKeys, 1000)
	c.TxnOps = cmp.Or(c.TxnOps, 128)
	c.TxnBytes = cmp.Or(c.TxnBytes, 512<<10)
	c.Patience = cmp.Or(c.Patience, time.Minute)
	c.MaxPasses = cmp.Or(c.MaxPasses, 10)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Report == nil {
		c.Report = func(Progress) {}
	}
	return c
}
