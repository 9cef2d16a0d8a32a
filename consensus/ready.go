package consensus

import (
	"fmt"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal/walpb"
)

// handle does what one Ready asks for, in the order that makes it safe:
//
//   - a leader's messages leave before its own fsync (Ongaro's thesis, 10.2.1), unless its term or vote is new
//     or the Ready commits what it still has to save;
//   - a follower's and a candidate's messages leave after the fsync, because they confirm it;
//   - committed entries go to apply beside the fsync, but after it when the Ready holds them unsaved as well,
//     which happens with a single voter and when a follower catches up (etcd issue 14370);
//   - of a snapshot, the file is on disk already, then its record is saved, then the state, then it is restored.
func (l *loop) handle(rd raft.Ready) error {
	st := l.raft.BasicStatus()
	voted := !raft.IsEmptyHardState(rd.HardState) && (rd.HardState.Term != l.hard.Term || rd.HardState.Vote != l.hard.Vote)
	unsaved := overlaps(rd) || !raft.IsEmptySnap(rd.Snapshot)
	early := st.RaftState == raft.StateLeader && !voted && !unsaved

	if took, ended := l.reads.answer(rd.ReadStates); ended {
		l.metrics.readSeconds.Observe(took.Seconds())
	}
	if early {
		l.send(rd.Messages, st)
	}
	if !unsaved {
		if err := l.commit(rd, st); err != nil {
			return err
		}
	}
	if err := l.save(rd, voted); err != nil {
		return err
	}
	if unsaved {
		if err := l.commit(rd, st); err != nil {
			return err
		}
	}
	if !early {
		l.send(rd.Messages, st)
	}
	l.raft.Advance(rd)
	return l.publish(st)
}

// overlaps says whether a Ready commits entries that it has not saved yet.
func overlaps(rd raft.Ready) bool {
	if len(rd.CommittedEntries) == 0 || len(rd.Entries) == 0 {
		return false
	}
	return rd.CommittedEntries[len(rd.CommittedEntries)-1].Index >= rd.Entries[0].Index
}

// save writes and syncs what has to be on disk. A commit index alone is not written: it goes with the next
// entries, so each batch in the log ends with a state and is synced before the next one is begun. An error is
// final, because after a failed fsync the kernel may have dropped what was not written.
func (l *loop) save(rd raft.Ready, voted bool) error {
	if !raft.IsEmptyHardState(rd.HardState) {
		l.hard = rd.HardState
	}
	snap := rd.Snapshot
	received := !raft.IsEmptySnap(snap)
	if len(rd.Entries) == 0 && !voted && !received {
		return nil
	}
	pulse := l.hard
	if voted {
		pulse = raftpb.HardState{} // the term is not on disk yet: keep silent
	}
	l.pulseBegin(pulse)
	defer l.pulse.end()
	start := time.Now()
	if received {
		conf := snap.Metadata.ConfState
		if err := l.wal.SaveSnapshot(walpb.Snapshot{Index: snap.Metadata.Index, Term: snap.Metadata.Term, ConfState: &conf}); err != nil {
			return fmt.Errorf("%w: record of a received snapshot: %w", ErrLogWrite, err)
		}
	}
	err := l.wal.Save(l.hard, rd.Entries)
	if err == nil && received {
		err = l.wal.Sync()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLogWrite, err)
	}
	took := time.Since(start)
	l.metrics.saveSeconds.Observe(took.Seconds())
	if took > l.cfg.electionTimeout()/2 {
		l.log.Warn("saving to the log is slow", "took", took, "entries", len(rd.Entries), "bytes", payload(rd.Entries))
	}
	l.written += payload(rd.Entries)
	if received {
		l.recorded = snap.Metadata.Index
		if err := l.mem.reset(snap); err != nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
	if err := l.mem.append(rd.Entries); err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return nil
}

// pulseBegin tells the pulse what may be said while the loop waits for the disk; nothing with an empty state.
func (l *loop) pulseBegin(hard raftpb.HardState) {
	st := l.raft.BasicStatus()
	if hard.Term != st.Term || st.Lead == raft.None {
		l.pulse.begin(0, 0)
		return
	}
	l.pulse.begin(st.Term, st.Lead)
}

// commit hands on what the group has committed: a received snapshot, then entries, with each new membership
// just before the entry that made it, then the news of who leads.
func (l *loop) commit(rd raft.Ready, st raft.BasicStatus) error {
	l.view.commit(st.Commit)
	if !raft.IsEmptySnap(rd.Snapshot) {
		meta := rd.Snapshot.Metadata
		file := l.transport.arrived.claim(meta.Index, meta.Term)
		if file == nil {
			return fmt.Errorf("%w: raft took over a snapshot at index %d term %d that was not received", ErrBroken, meta.Index, meta.Term)
		}
		l.conf = meta.ConfState
		l.queue.add(task{restore: file})
		if file.book != nil {
			l.adopt(file.book)
		}
	}
	entries := rd.CommittedEntries
	from := 0
	for i := range entries {
		e := &entries[i]
		if e.Type == raftpb.EntryNormal {
			if e.Term == st.Term && len(e.Data) > 0 {
				l.inflight = max(0, l.inflight-int64(len(e.Data)))
				l.pipeline = max(0, l.pipeline-1)
			}
			continue
		}
		l.queueEntries(entries[from:i])
		from = i
		if err := l.change(e); err != nil {
			return err
		}
	}
	l.queueEntries(entries[from:])
	l.lead(st)
	return nil
}

func (l *loop) queueEntries(entries []raftpb.Entry) {
	if len(entries) > 0 {
		l.queue.add(task{entries: entries, bytes: payload(entries)})
	}
}

// lead passes on a change of leader or term.
func (l *loop) lead(st raft.BasicStatus) {
	now := leadership{term: st.Term, leader: st.Lead}
	if now == l.told {
		return
	}
	if now.leader != raft.None && now.leader != l.told.leader {
		l.metrics.leaderChanges.Inc()
		l.log.Info("leader changed", "term", now.term, "leader", now.leader)
	}
	if now.leader == raft.None && l.told.leader != raft.None {
		l.log.Info("leader lost", "term", now.term, "leader", l.told.leader)
	}
	l.told = now
	l.inflight, l.pipeline = 0, 0
	l.failChanges()
	l.changer.index = 0 // what an earlier leader proposed is behind the entry that opens this term
	l.hungry = true     // ask once when this node leads; nothing is known of earlier signals
	l.reads.leaderChanged()
	l.news.forget()
	l.thrift.forget()
	l.queue.add(task{leader: &leadership{term: st.Term, leader: st.Lead}}) // not &now, which would be allocated each time
}

// publish makes the state visible to Status.
func (l *loop) publish(st raft.BasicStatus) error {
	last, err := l.mem.LastIndex()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	l.view.set(view{term: st.Term, leader: st.Lead, commit: st.Commit, last: last, leads: st.RaftState == raft.StateLeader})
	l.watchTransfer()
	return nil
}
