package consensus

import (
	"math"
	"sync/atomic"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
)

// position is a durable position of the state machine, with the membership decoded.
type position struct {
	index uint64
	term  uint64
	conf  raftpb.ConfState
	size  int64 // of a copy of it, about
}

// memoryLog is the part of the log that Raft reads: etcd's MemoryStorage, with its size known and bounded in
// bytes. The loop changes it; reading is safe from any goroutine.
type memoryLog struct {
	*raft.MemoryStorage
	bytes   atomic.Int64             // payload of the entries held; changed by the loop
	durable atomic.Pointer[position] // the state machine's; set by the trim goroutine
}

// newMemoryLog holds a recovered log.
func newMemoryLog(r *recovered) (*memoryLog, error) {
	m := &memoryLog{MemoryStorage: raft.NewMemoryStorage()}
	snap := raftpb.Snapshot{Metadata: raftpb.SnapshotMetadata{ConfState: r.conf, Index: r.start.Index, Term: r.start.Term}}
	if r.start.Index > 0 { // else this node has nothing yet
		if err := m.ApplySnapshot(snap); err != nil {
			return nil, err
		}
	}
	if err := m.SetHardState(r.hard); err != nil {
		return nil, err
	}
	m.durable.Store(&position{})
	return m, m.append(r.entries)
}

// Snapshot names the position of the copy that a lagging follower would get. The transport opens the copy
// itself, which may be newer.
func (m *memoryLog) Snapshot() (raftpb.Snapshot, error) {
	first, err := m.FirstIndex()
	if err != nil {
		return raftpb.Snapshot{}, err
	}
	d := m.durable.Load()
	if d.index == 0 || d.index+1 < first {
		return raftpb.Snapshot{}, raft.ErrSnapshotTemporarilyUnavailable
	}
	return raftpb.Snapshot{Metadata: raftpb.SnapshotMetadata{ConfState: d.conf, Index: d.index, Term: d.term}}, nil
}

// append adds entries, which replace what stood at and behind their first index.
func (m *memoryLog) append(entries []raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	last, err := m.LastIndex()
	if err != nil {
		return err
	}
	if first := entries[0].Index; first <= last {
		replaced, err := m.Entries(first, last+1, math.MaxUint64)
		if err != nil {
			return err
		}
		m.bytes.Add(-payload(replaced))
	}
	m.bytes.Add(payload(entries))
	return m.Append(entries)
}

// reset replaces the log by a snapshot's position.
func (m *memoryLog) reset(snap raftpb.Snapshot) error {
	m.bytes.Store(0)
	return m.ApplySnapshot(snap)
}

// shrink drops the oldest entries, none above index limit, until about keep bytes are left. It waits until an
// eighth is to be dropped, because dropping copies what remains.
func (m *memoryLog) shrink(limit uint64, keep int64) error {
	held := m.bytes.Load()
	if held <= keep+keep/8 {
		return nil
	}
	first, err := m.FirstIndex()
	if err != nil || limit < first {
		return err
	}
	entries, err := m.Entries(first, limit+1, math.MaxUint64)
	if err != nil {
		return err
	}
	upTo := uint64(0)
	for i := range entries {
		if held <= keep {
			break
		}
		held -= size(&entries[i])
		upTo = entries[i].Index
	}
	if upTo == 0 {
		return nil
	}
	m.bytes.Store(held)
	return m.Compact(upTo)
}

// entryBytes is what an entry costs in memory beside its data.
const entryBytes = 48

func size(e *raftpb.Entry) int64 { return entryBytes + int64(len(e.Data)) }

func payload(entries []raftpb.Entry) int64 {
	sum := int64(0)
	for i := range entries {
		sum += size(&entries[i])
	}
	return sum
}
