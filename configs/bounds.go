package configs

import (
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"
)

// Bytes is a size. In YAML it is a number of bytes or a number with a unit: 512KiB, 64MiB, 1GB.
type Bytes int64

// ParseBytes reads a size.
func ParseBytes(s string) (Bytes, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size: write a number of bytes, or one with a unit such as 512KiB, 64MiB or 1GB", s)
	}
	return Bytes(n), nil
}

func (b Bytes) String() string {
	for _, u := range []struct {
		unit string
		size Bytes
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if b >= u.size && b%u.size == 0 {
			return fmt.Sprintf("%d%s", b/u.size, u.unit)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}

// MarshalText writes a size with the largest unit that is exact.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (b *Bytes) UnmarshalText(text []byte) error {
	v, err := ParseBytes(string(text))
	if err == nil {
		*b = v
	}
	return err
}

// Limits bound memory, disk and message sizes. Every one is positive.
type Limits struct {
	// MaxRequestBytes is the largest request a client may send.
	MaxRequestBytes Bytes `yaml:"max_request_bytes"`
	// MaxTxnOps is the largest number of operations in one transaction.
	MaxTxnOps int `yaml:"max_txn_ops"`
	// QueueBytes bounds the writes that wait to be proposed; more are refused.
	QueueBytes Bytes `yaml:"queue_bytes"`
	// MaxEntryBytes is about how much of waiting writes goes into one Raft entry, which is one frame.
	MaxEntryBytes Bytes `yaml:"max_entry_bytes"`
	// MaxUncommittedBytes bounds what a leader has proposed and not seen committed.
	MaxUncommittedBytes Bytes `yaml:"max_uncommitted_bytes"`
	// CatchUpBytes is how much of the Raft log stays in memory at most for a slow follower; past it, a snapshot.
	CatchUpBytes Bytes `yaml:"catch_up_bytes"`
	// FlushInterval is how long applied writes wait in memory (and in the log) for the database.
	FlushInterval time.Duration `yaml:"flush_interval"`
	// FlushBytes starts a flush before FlushInterval is over.
	FlushBytes Bytes `yaml:"flush_bytes"`
	// PendingBytes bounds what waits for the database; applying blocks above it.
	PendingBytes Bytes `yaml:"pending_bytes"`
	// ConflictEntries is how many lost multi-writer conflicts a datacenter remembers.
	ConflictEntries int `yaml:"conflict_entries"`
	// Leases is how many leases a datacenter may hold.
	Leases int `yaml:"leases"`
	// LeaseRevokesPerSecond bounds how fast leases that have ended are revoked.
	LeaseRevokesPerSecond int `yaml:"lease_revokes_per_second"`
	// MinFreeBytes must be free on a node's disk for it to take puts.
	MinFreeBytes Bytes `yaml:"min_free_bytes"`
	// ScrubInterval is how often a node reads its whole database for damage.
	ScrubInterval time.Duration `yaml:"scrub_interval"`
	// ScrubRate bounds how fast it does, in bytes per second.
	ScrubRate Bytes `yaml:"scrub_rate"`
	// OutboxBytes bounds the JetStream stream that peers pull from; the oldest frames go first.
	OutboxBytes Bytes `yaml:"outbox_bytes"`
	// OutboxAge bounds the age of frames in that stream.
	OutboxAge time.Duration `yaml:"outbox_age"`
	// RetentionBytes bounds, for each datacenter's chain, the frames that are kept because some datacenter has
	// not confirmed them; one that is further behind needs a snapshot.
	RetentionBytes Bytes `yaml:"retention_bytes"`
	// RetentionAge bounds the age of such frames. Where keyspaces have homes, those that are on no majority of the
	// datacenters don't age: they may turn out not to count, and are taken back one by one.
	RetentionAge time.Duration `yaml:"retention_age"`
	// SnapshotRate bounds what a node sends of snapshots, in bytes per second.
	SnapshotRate Bytes `yaml:"snapshot_rate"`
	// HalfOpenWrites bounds the writes that wait for a datacenter which is coming back and has not confirmed
	// anything yet.
	HalfOpenWrites int `yaml:"half_open_writes"`
	// CatchUpPercent is how much of the time a datacenter works on what it has missed of another, while no write there
	// waits; 1 to 100.
	CatchUpPercent int `yaml:"catch_up_percent"`
	// PublishWindowBytes bounds what is published to JetStream and not yet stored there.
	PublishWindowBytes Bytes `yaml:"publish_window_bytes"`
	// ReceiveWindowBytes bounds, per peer, what is pulled and not yet applied.
	ReceiveWindowBytes Bytes `yaml:"receive_window_bytes"`
}

// Timing holds intervals and timeouts. Every one is positive, MaxClockSkew may be 0.
type Timing struct {
	// Heartbeat is how often datacenters tell each other that they live, and repeat their acks.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// SuspectAfter is the silence that makes a peer suspected.
	SuspectAfter time.Duration `yaml:"suspect_after"`
	// DownAfter is the silence that makes a peer down; more than SuspectAfter.
	DownAfter time.Duration `yaml:"down_after"`
	// RaftTick is the unit of the two tick counts.
	RaftTick time.Duration `yaml:"raft_tick"`
	// HeartbeatTicks is the interval of a leader's heartbeats within its datacenter.
	HeartbeatTicks int `yaml:"heartbeat_ticks"`
	// ElectionTicks is the silence of a leader after which a follower stands; more than HeartbeatTicks.
	ElectionTicks int `yaml:"election_ticks"`
	// MaxClockSkew is how far a leader's clock may run ahead of the median of the other datacenters' before it
	// refuses multi-writer writes; 0 never refuses.
	MaxClockSkew time.Duration `yaml:"max_clock_skew"`
	// HomeLease is how long the home of a single-writer keyspace may serve reads and writes without hearing from a
	// majority, and so about how long one that is lost is waited for. 500 ms to 1 h.
	HomeLease time.Duration `yaml:"home_lease"`
	// MaxClockDriftPPM bounds how much the rate of any node's clock may be off, in millionths; it shortens the home's
	// part of the lease.
	MaxClockDriftPPM int `yaml:"max_clock_drift_ppm"`
	// LeaseCheckpoint is how often what is left of a longer lease is written to the log; at least 1 s.
	LeaseCheckpoint time.Duration `yaml:"lease_checkpoint"`
	// WatchProgress is how often a quiet watch that asked for it hears how far it is; at least 100 ms.
	WatchProgress time.Duration `yaml:"watch_progress"`
}
