package configs

import (
	"fmt"
	"strconv"
	"time"
)

// Storage bounds each node's database.
type Storage struct {
	// QuotaBytes is the size of the database's file above which puts are refused; 0 is no quota.
	QuotaBytes Bytes `yaml:"quota_bytes"`
}

// Compaction says which history a datacenter keeps.
type Compaction struct {
	// Mode is off, periodic or revision.
	Mode string `yaml:"mode"`
	// Retention is a duration for periodic, a number of revisions for revision.
	Retention string `yaml:"retention,omitempty"`
}

// leastPeriod is the shortest history by time: below it clients that were away for a moment start over.
const leastPeriod = time.Second

// Kept is what Retention says: a duration or a number of revisions, neither when the mode is off.
func (c Compaction) Kept() (period time.Duration, revisions int64, err error) {
	switch c.Mode {
	case Periodic:
		period, err = time.ParseDuration(c.Retention)
		if err != nil || period < leastPeriod {
			return 0, 0, fmt.Errorf("is %q, want a duration of at least %s with compaction.mode: %s, such as 1h", c.Retention, leastPeriod, c.Mode)
		}
	case ByRevision:
		revisions, err = strconv.ParseInt(c.Retention, 10, 64)
		if err != nil || revisions <= 0 {
			return 0, 0, fmt.Errorf("is %q, want a number of revisions with compaction.mode: %s, such as 10000", c.Retention, c.Mode)
		}
	}
	return period, revisions, nil
}

func (t *Topology) checkStorage(report reporter) {
	quota := t.Storage.QuotaBytes
	if quota < 0 {
		report("storage.quota_bytes", "is %s, want 0 for none, or more", quota)
	}
	// Frames that are kept for a datacenter that is away count. They must not stop local writes.
	if n := len(t.Datacenters); n > 1 && quota > 0 && quota <= Bytes(n)*t.Limits.RetentionBytes {
		report("storage.quota_bytes", "is %s, want more than %d times limits.retention_bytes (%s), or a datacenter that is away stops the writes of the others; raise it or lower that",
			quota, n, t.Limits.RetentionBytes)
	}
	checkWord(report, "compaction.mode", t.Compaction.Mode, Off, Periodic, ByRevision)
	if _, _, err := t.Compaction.Kept(); err != nil {
		report("compaction.retention", "%s", err)
	}
	if t.Compaction.Mode == Off && t.Compaction.Retention != "" {
		report("compaction.retention", "is %q and compaction.mode is off; set the mode too, to %s or %s", t.Compaction.Retention, Periodic, ByRevision)
	}
}
