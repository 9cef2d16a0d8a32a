package consensus

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Link decides whether a message may pass between two nodes. It is the seam at which tests and rehearsals
// cut a network; it is asked for each message, on both sides, from any goroutine.
type Link func(from, to uint64) bool

// Config is everything a node needs. Zero means the default where one is named.
type Config struct {
	ClusterID uint64 // identifies the group; a hash of cluster and datacenter name. Non-zero
	NodeID    uint64 // this node; non-zero and one of Members

	// Members and Join count on the first start only. From then on the log and the state machine say who the
	// members are.
	Members []Member // the founders, the same list on every node; with Join those that Discover found
	Join    bool     // the first start enters a group that others have founded. Later starts do not look at it
	Self    Member   // what this node tells of itself: Name, ClientURLs, Admin and NATS. Empty: nothing new
	Dir     string   // write-ahead log in Dir/wal, received snapshots in Dir/snap; created when missing

	Listener net.Listener // where peers connect to; closed with the node once Open has returned one. nil: Listen is opened
	Listen   string       // host:port, used when Listener is nil. Empty: this node's address in Members
	TLS      *tls.Config  // used as server and as client, so it needs certificates and both pools. nil: plain TCP

	StateMachine StateMachine
	Batcher      Batcher // nil: this node proposes nothing

	// TickInterval is Raft's clock, 100 ms when zero. 50 ms finds a dead leader sooner on a quiet network.
	TickInterval time.Duration
	// ElectionTicks without a word from the leader start an election, after up to twice as many; 10 when zero.
	ElectionTicks int
	// HeartbeatTicks between heartbeats, 1 when zero.
	HeartbeatTicks int
	// MaxDiskStall is how long a node with a stuck fsync still answers for itself, 5 s when zero. It bounds
	// how long a leader that can't write anything may keep the others from electing another one.
	MaxDiskStall time.Duration
	// StopTimeout bounds the hand-over of leadership in a clean stop, 1.5 s when zero.
	StopTimeout time.Duration

	// MaxEntryBytes is the limit given to Batcher.Take, 512 KiB when zero.
	MaxEntryBytes int
	// MaxSizePerMsg is how many bytes of entries go into one message, 1 MiB when zero. A larger entry goes alone.
	MaxSizePerMsg int
	// MaxMessageBytes is the largest message accepted from a peer, 32 MiB when zero. Entries above half of it
	// are refused.
	MaxMessageBytes int
	// MaxInflightMsgs is how many messages with entries may be on their way to one follower, 256 when zero.
	MaxInflightMsgs int
	// MaxInflightEntries is how many entries may be proposed and not yet committed, 4 when zero. With one, the
	// disks of leader and followers wait for each other; with many, a fast disk gets many small entries, and each
	// costs all nodes the same work whatever is in it.
	MaxInflightEntries int
	// MaxNewsDelay is how long a leader may keep to itself that an entry is committed, in a stream of writes, because the
	// next entry is about to tell its followers the same; 2 ms when zero. It delays what a follower's watchers and its
	// serializable reads see, and nothing else.
	MaxNewsDelay time.Duration
	// MaxSpareDelay is how long entries, in a stream of them, may wait for each other before they are sent to followers without
	// which they are committed just as well; 3 ms when zero. It delays what watchers and serializable reads see there, and
	// a commit once when the others fail.
	MaxSpareDelay time.Duration
	// MaxUncommittedEntriesSize is how many bytes may be proposed and not yet committed, 64 MiB when zero.
	MaxUncommittedEntriesSize int
	// MaxCommittedSizePerReady is how many bytes are handed to Apply at once, 8 MiB when zero.
	MaxCommittedSizePerReady int
	// MaxApplyQueueBytes is how many bytes of committed entries may wait for Apply, 64 MiB when zero. Past
	// it a leader takes no proposals and a follower reads no entries from its peers.
	MaxApplyQueueBytes int
	// QueueMessages and QueueBytes bound each queue of the transport: 4096 and 64 MiB when zero. What does
	// not fit is dropped; Raft sends it again.
	QueueMessages int
	QueueBytes    int

	// SnapshotCatchUpBytes of entries at most stay in memory for followers that lag, 64 MiB when zero. One that
	// lags more gets a snapshot.
	SnapshotCatchUpBytes int
	// SnapshotCatchUpShare is the size of a copy of the state machine, divided by the bytes of entries that stay for
	// followers that are away; 16 when zero. A snapshot costs at most this many times what it spares. 1 keeps as
	// much log as there is data.
	SnapshotCatchUpShare int
	// SnapshotCatchUpMinBytes of entries stay however small the state machine is, 1 MiB when zero; no more than
	// SnapshotCatchUpBytes.
	SnapshotCatchUpMinBytes int
	// CatchUpGrace is how long a follower that does not answer counts as one that does, 10 s when zero: about what a
	// restart takes. That long all that it lacks stays, up to SnapshotCatchUpBytes.
	CatchUpGrace time.Duration
	// SnapshotHoldBytes of entries stay in memory while a snapshot is being sent, so that the follower can go
	// on from it; 4 times SnapshotCatchUpBytes when zero.
	SnapshotHoldBytes int
	// SnapshotTimeout without progress ends the sending of a snapshot, 30 s when zero.
	SnapshotTimeout time.Duration
	// TruncateBytes written to the log start the deletion of what the state machine no longer needs, 32 MiB
	// when zero. Restart reads up to about this much, a segment, and what is not yet durable.
	TruncateBytes int

	// MaxWaitingChanges of membership may wait for the one before, 16 when zero. More are refused.
	MaxWaitingChanges int
	// MaxLearners at a time, 1 when zero, as etcd: each costs the leader a copy of the log.
	MaxLearners int
	// MaxPromoteLag is how many entries a learner may be behind the commit index to be made a voter, 128 when
	// zero. It is about what a busy leader has on its way.
	MaxPromoteLag int
	// RemovalGrace is how long a removed node goes on without taking part, so that who uses it can leave;
	// 10 s when zero.
	RemovalGrace time.Duration

	// ReadRetry is when an unanswered read index is asked for again, 500 ms when zero.
	ReadRetry time.Duration
	// MaxWaitingReads bounds the readers that wait for the next read index, 65,536 when zero.
	MaxWaitingReads int

	Link       Link                  // nil: everything passes
	Logger     *slog.Logger          // nil: off
	Registerer prometheus.Registerer // nil: off. Wrap it with a label when one process runs several nodes

	streams bool // tests: no direct connections, as in the version before
}

// validate fills in the defaults and refuses what can't work.
func (c *Config) validate() error {
	positive := func(v *int, fallback int) {
		if *v == 0 {
			*v = fallback
		}
	}
	duration := func(v *time.Duration, fallback time.Duration) {
		if *v == 0 {
			*v = fallback
		}
	}
	duration(&c.TickInterval, 100*time.Millisecond)
	positive(&c.ElectionTicks, 10)
	positive(&c.HeartbeatTicks, 1)
	duration(&c.MaxDiskStall, 5*time.Second)
	duration(&c.StopTimeout, 1500*time.Millisecond)
	positive(&c.MaxEntryBytes, 512<<10)
	positive(&c.MaxSizePerMsg, 1<<20)
	positive(&c.MaxMessageBytes, 32<<20)
	positive(&c.MaxInflightMsgs, 256)
	positive(&c.MaxInflightEntries, 4)
	positive(&c.MaxUncommittedEntriesSize, 64<<20)
	positive(&c.MaxCommittedSizePerReady, 8<<20)
	positive(&c.MaxApplyQueueBytes, 64<<20)
	positive(&c.QueueMessages, 4096)
	positive(&c.QueueBytes, 64<<20)
	positive(&c.SnapshotCatchUpBytes, 64<<20)
	positive(&c.SnapshotCatchUpShare, 16)
	positive(&c.SnapshotCatchUpMinBytes, 1<<20)
	duration(&c.CatchUpGrace, 10*time.Second)
	positive(&c.SnapshotHoldBytes, 4*c.SnapshotCatchUpBytes)
	duration(&c.SnapshotTimeout, 30*time.Second)
	positive(&c.TruncateBytes, 32<<20)
	positive(&c.MaxWaitingChanges, 16)
	positive(&c.MaxLearners, 1)
	positive(&c.MaxPromoteLag, 128)
	duration(&c.RemovalGrace, 10*time.Second)
	duration(&c.MaxNewsDelay, 2*time.Millisecond)
	duration(&c.MaxSpareDelay, 3*time.Millisecond)
	duration(&c.ReadRetry, 500*time.Millisecond)
	positive(&c.MaxWaitingReads, 1<<16)
	if c.Link == nil {
		c.Link = func(uint64, uint64) bool { return true }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Members = slices.Clone(c.Members)
	slices.SortFunc(c.Members, func(a, b Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	for i := range c.Members {
		if m := &c.Members[i]; m.Name == "" && !c.Join {
			m.Name = fmt.Sprintf("%016x", m.ID) // founders start as started
		}
	}
	if c.Listen == "" {
		c.Listen = c.addr(c.NodeID)
	}
	if problem := c.problem(); problem != "" {
		return fmt.Errorf("%w: %s", ErrConfig, problem)
	}
	return nil
}

// problem says what is wrong, "" when nothing is.
func (c *Config) problem() string {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"TickInterval", int64(c.TickInterval)}, {"ElectionTicks", int64(c.ElectionTicks)},
		{"HeartbeatTicks", int64(c.HeartbeatTicks)}, {"MaxDiskStall", int64(c.MaxDiskStall)},
		{"StopTimeout", int64(c.StopTimeout)}, {"MaxEntryBytes", int64(c.MaxEntryBytes)},
		{"MaxSizePerMsg", int64(c.MaxSizePerMsg)}, {"MaxMessageBytes", int64(c.MaxMessageBytes)},
		{"MaxInflightMsgs", int64(c.MaxInflightMsgs)}, {"MaxInflightEntries", int64(c.MaxInflightEntries)},
		{"MaxCommittedSizePerReady", int64(c.MaxCommittedSizePerReady)},
		{"MaxUncommittedEntriesSize", int64(c.MaxUncommittedEntriesSize)}, {"MaxApplyQueueBytes", int64(c.MaxApplyQueueBytes)},
		{"QueueMessages", int64(c.QueueMessages)}, {"QueueBytes", int64(c.QueueBytes)},
		{"SnapshotCatchUpBytes", int64(c.SnapshotCatchUpBytes)}, {"SnapshotHoldBytes", int64(c.SnapshotHoldBytes)},
		{"SnapshotCatchUpShare", int64(c.SnapshotCatchUpShare)}, {"SnapshotCatchUpMinBytes", int64(c.SnapshotCatchUpMinBytes)},
		{"CatchUpGrace", int64(c.CatchUpGrace)}, {"SnapshotTimeout", int64(c.SnapshotTimeout)}, {"TruncateBytes", int64(c.TruncateBytes)},
		{"MaxWaitingChanges", int64(c.MaxWaitingChanges)}, {"MaxLearners", int64(c.MaxLearners)},
		{"MaxPromoteLag", int64(c.MaxPromoteLag)}, {"RemovalGrace", int64(c.RemovalGrace)},
		{"ReadRetry", int64(c.ReadRetry)}, {"MaxNewsDelay", int64(c.MaxNewsDelay)}, {"MaxSpareDelay", int64(c.MaxSpareDelay)},
		{"MaxWaitingReads", int64(c.MaxWaitingReads)},
	} {
		if f.value < 0 {
			return f.name + " must not be negative"
		}
	}
	switch {
	case c.ClusterID == 0:
		return "ClusterID must not be 0"
	case c.NodeID == 0:
		return "NodeID must not be 0"
	case c.Dir == "":
		return "Dir is empty"
	case c.ElectionTicks <= c.HeartbeatTicks:
		return fmt.Sprintf("ElectionTicks %d must be greater than HeartbeatTicks %d; use 10 times as many", c.ElectionTicks, c.HeartbeatTicks)
	case c.MaxEntryBytes > c.MaxMessageBytes/2:
		return fmt.Sprintf("MaxEntryBytes %d must be at most half of MaxMessageBytes %d", c.MaxEntryBytes, c.MaxMessageBytes)
	case c.MaxSizePerMsg > c.MaxMessageBytes/2:
		return fmt.Sprintf("MaxSizePerMsg %d must be at most half of MaxMessageBytes %d", c.MaxSizePerMsg, c.MaxMessageBytes)
	case c.MaxUncommittedEntriesSize < 2*c.MaxEntryBytes:
		return fmt.Sprintf("MaxUncommittedEntriesSize %d must be at least twice MaxEntryBytes %d", c.MaxUncommittedEntriesSize, c.MaxEntryBytes)
	}
	for i, m := range c.Members {
		switch {
		case m.ID == 0:
			return fmt.Sprintf("member %q has ID 0", m.Addr)
		case m.Addr == "":
			return fmt.Sprintf("member %x has no address", m.ID)
		case i > 0 && m.ID == c.Members[i-1].ID:
			return fmt.Sprintf("two members have ID %x", m.ID)
		}
	}
	if c.addr(c.NodeID) == "" {
		return fmt.Sprintf("NodeID %x is not among Members", c.NodeID)
	}
	return ""
}

// addr is where a member's transport listens, "" for a stranger.
func (c *Config) addr(id uint64) string {
	for _, m := range c.Members {
		if m.ID == id {
			return m.Addr
		}
	}
	return ""
}

// electionTimeout is the shortest time after which followers give up a silent leader.
func (c *Config) electionTimeout() time.Duration {
	return time.Duration(c.ElectionTicks) * c.TickInterval
}

// heartbeatInterval is the time between a leader's heartbeats.
func (c *Config) heartbeatInterval() time.Duration {
	return time.Duration(c.HeartbeatTicks) * c.TickInterval
}
