package consensus

import (
	"cmp"
	"slices"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/raft/v3/tracker"
)

// thrift sends a stream of entries to the quick followers one by one, and to the spare ones a few at a time. Quick are those
// that have confirmed the most, as many as make a majority with the leader; without the others an entry is committed just as
// well. Each append costs a follower a turn and an fsync, whatever is in it, and where disks and processors are shared it costs
// the others time.
//
// What is acknowledged is on the disks of a majority, as ever. A spare follower is sent what came within the delay after
// entries were sent to it last when that is over. That is also how much longer a commit takes whose quick follower is gone; then the one that has
// answered in its place is quick. What is written now and then goes to all at once. All fields are used by
// the loop's goroutine only.
type thrift struct {
	delay     time.Duration
	timer     *time.Timer // runs while something is held
	followers []follower  // voters, by id; none where the rule does not hold
}

type follower struct {
	id    uint64
	match uint64 // up to which it has confirmed the log
	quick bool
	sent  time.Time       // when entries were sent to it last
	held  *raftpb.Message // nil for nothing
}

// heldBytes bounds the entries that wait for each other: it is what fits into one turn of a follower anyway.
const heldBytes = nowBytes

func newThrift(delay time.Duration) thrift {
	t := thrift{delay: delay, timer: time.NewTimer(time.Hour)}
	t.timer.Stop()
	return t
}

// rank finds out who is quick. A membership in change has no spare followers, for simplicity; a learner is none.
func (t *thrift) rank(rn *raft.RawNode, conf *raftpb.ConfState, self uint64) {
	t.followers = slices.DeleteFunc(t.followers, func(f follower) bool { return !slices.Contains(conf.Voters, f.id) })
	for i := range t.followers {
		t.followers[i].match = 0
	}
	rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id == self || !slices.Contains(conf.Voters, id) {
			return
		}
		i := slices.IndexFunc(t.followers, func(f follower) bool { return f.id == id })
		if i < 0 {
			i = len(t.followers)
			t.followers = append(t.followers, follower{id: id})
		}
		if pr.State == tracker.StateReplicate {
			t.followers[i].match = pr.Match
		}
	})
	spare := 0
	if len(conf.VotersOutgoing) == 0 {
		spare = (len(conf.Voters) - 1) / 2
	}
	t.choose(spare)
}

// choose lets so many of the followers be spare: of those that have confirmed the same, the ones that were.
func (t *thrift) choose(spare int) {
	slices.SortFunc(t.followers, func(a, b follower) int {
		if c := cmp.Compare(b.match, a.match); c != 0 {
			return c
		}
		if a.quick != b.quick {
			if a.quick {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.id, b.id)
	})
	for i := range t.followers {
		t.followers[i].quick = i < len(t.followers)-spare
	}
}

func (t *thrift) follower(id uint64) *follower {
	for i := range t.followers {
		if t.followers[i].id == id {
			return &t.followers[i]
		}
	}
	return nil
}

// join adds an append to the one that is held for its receiver, if it can.
func (t *thrift) join(m *raftpb.Message) bool {
	f := t.follower(m.To)
	if f == nil || f.held == nil || f.quick || !isBulk(m) {
		return false
	}
	held := f.held
	last := held.Entries[len(held.Entries)-1]
	if m.Term != held.Term || m.Index != last.Index || m.LogTerm != last.Term || payload(held.Entries)+payload(m.Entries) > heldBytes {
		return false
	}
	held.Entries = append(slices.Clip(held.Entries), m.Entries...) // what was there is Raft's
	held.Commit = max(held.Commit, m.Commit)
	return true
}

// hold keeps an append back unless it must go at once. Nothing is held for its receiver.
func (t *thrift) hold(m *raftpb.Message, now time.Time) bool {
	f := t.follower(m.To)
	if f == nil || len(m.Entries) == 0 {
		return false
	}
	rest := t.delay - now.Sub(f.sent)
	if f.quick || rest <= 0 || payload(m.Entries) > heldBytes {
		f.sent = now
		return false
	}
	if t.late() == nil {
		t.timer.Reset(rest)
	}
	held := *m
	f.held = &held
	return true
}

// take returns what was held for a peer, and holds it no longer.
func (t *thrift) take(to uint64, now time.Time) *raftpb.Message {
	f := t.follower(to)
	if f == nil || f.held == nil {
		return nil
	}
	m := f.held
	f.held, f.sent = nil, now
	return m
}

// late receives when something has been held for the delay.
func (t *thrift) late() <-chan time.Time {
	for i := range t.followers {
		if t.followers[i].held != nil {
			return t.timer.C
		}
	}
	return nil
}

// forget is for a leader that is none any more.
func (t *thrift) forget() {
	clear(t.followers)
	t.followers = t.followers[:0]
}
