package configs

import "time"

// The words that settings take.
const (
	MultiWriter  = "multi-writer"  // Keyspace.Mode: every datacenter may write
	SingleWriter = "single-writer" // Keyspace.Mode: one datacenter, the home, orders the writes

	Embedded = "embedded" // NATS.Mode: a NATS server inside each node
	External = "external" // NATS.Mode: a NATS cluster that somebody runs

	Fail       = "fail"     // OnUnreachable, OnExceed: refuse before anything is committed
	Wait       = "wait"     // OnUnreachable: commit locally and wait up to the timeout. OnExceed: wait before the commit
	Degraded   = "degrade"  // OnUnreachable: go on under a weaker policy, within bounds
	Off        = "off"      // Compaction.Mode: history is dropped only when a client asks
	Periodic   = "periodic" // Compaction.Mode: history of some time is kept
	ByRevision = "revision" // Compaction.Mode: some revisions are kept

	Error = "error" // OnTimeout: an error that says the write is committed locally
)

// maxPolicyTimeout is the longest wait for other datacenters.
const maxPolicyTimeout = 10 * time.Minute

var policies = []string{"ALL", "QUORUM", "ANY", "ASYNC"}

// Default is a topology with every default and no datacenter.
func Default() *Topology {
	return &Topology{
		Cluster: "geogate",
		Policy: Policy{
			Default: "QUORUM", Timeout: 5 * time.Second, OnUnreachable: Fail, OnTimeout: Error,
			Degrade: Degrade{To: "ASYNC", MaxSeconds: 300, MaxBytes: 64 << 20, RecoverAfter: 5 * time.Second, RecoverLag: time.Second},
			MaxLag:  MaxLag{OnExceed: Fail},
		},
		Auth: Auth{TokenTTL: 5 * time.Minute, BcryptCost: 10, MaxWaitingLogins: 1000}, // the first two as etcd's
		Limits: Limits{
			MaxRequestBytes:       3 << 19, // 1.5 MiB, as etcd's --max-request-bytes
			MaxTxnOps:             128,     // as etcd's --max-txn-ops
			QueueBytes:            64 << 20,
			MaxEntryBytes:         512 << 10,
			MaxUncommittedBytes:   64 << 20,
			CatchUpBytes:          64 << 20,
			FlushInterval:         100 * time.Millisecond,
			FlushBytes:            8 << 20,
			PendingBytes:          64 << 20,
			ConflictEntries:       10_000,
			Leases:                500_000,
			LeaseRevokesPerSecond: 1000, // as etcd
			MinFreeBytes:          256 << 20,
			ScrubInterval:         24 * time.Hour,
			ScrubRate:             16 << 20,
			OutboxBytes:           1 << 30,
			OutboxAge:             time.Hour,
			RetentionBytes:        4 << 30,
			RetentionAge:          72 * time.Hour,
			SnapshotRate:          64 << 20,
			HalfOpenWrites:        16,
			CatchUpPercent:        50,
			PublishWindowBytes:    16 << 20,
			ReceiveWindowBytes:    8 << 20,
		},
		Compaction: Compaction{Mode: Off},
		Timing: Timing{
			Heartbeat:      250 * time.Millisecond,
			SuspectAfter:   time.Second,
			DownAfter:      3 * time.Second,
			RaftTick:       100 * time.Millisecond,
			HeartbeatTicks: 1,
			ElectionTicks:  10,
			HomeLease:      4 * time.Second, MaxClockDriftPPM: 1000,
			MaxClockSkew:    500 * time.Millisecond,
			LeaseCheckpoint: 5 * time.Minute,  // as etcd
			WatchProgress:   10 * time.Minute, // as etcd
		},
		Verification: Verification{Interval: 10 * time.Second, NodesInterval: time.Minute},
		Log:          Log{Level: "info", Format: "text"},
	}
}

// fill sets what can only be known per list item.
func (t *Topology) fill() {
	for i := range t.Datacenters {
		n := &t.Datacenters[i].NATS
		if n.Mode == "" {
			n.Mode = Embedded
		}
		if n.Mode == External && n.Replicas == 0 {
			n.Replicas = 3
		}
	}
	for i := range t.Keyspaces {
		if t.Keyspaces[i].Mode == "" {
			t.Keyspaces[i].Mode = MultiWriter
		}
	}
}
