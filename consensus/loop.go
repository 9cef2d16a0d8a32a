package consensus

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
)

// receivedAtOnce bounds the bytes of entries that go into one save.
const receivedAtOnce = 8 << 20

// loop owns the Raft state and the log. All its fields are used by its goroutine only.
type loop struct {
	*Node
	raft *raft.RawNode
	wal  logFile

	hard     raftpb.HardState // newest; on disk Commit may lag, Term and Vote may not
	conf     raftpb.ConfState
	recorded uint64 // index of the newest record of a durable position in the log
	written  int64  // bytes of entries since then

	told     leadership
	hungry   bool  // the batcher may have something
	inflight int64 // bytes proposed in this term and not committed yet
	pipeline int   // entries of which these are
	transfer *transfer
	stopping bool
	stopTerm uint64 // term in which the hand-over of a clean stop began
	changer  changer
	said     confirmations
	news     news
	thrift   thrift
	young    young
	heard    map[uint64]time.Time // when a follower last answered a heartbeat
	snapshot bool                 // a received snapshot was stepped since the last Ready
	tick     *time.Ticker
}

// run drives Raft until the node is stopped, killed or fails. ctx is the caller's: its end begins a clean stop.
func (l *loop) run(ctx context.Context, failed <-chan error) (err error) {
	defer raftGivesUp(&err)
	l.tick = time.NewTicker(l.cfg.TickInterval)
	defer l.tick.Stop()
	defer func() { l.endTransfer(ErrStopped) }()
	if len(l.conf.Voters) == 1 && len(l.conf.VotersOutgoing) == 0 && l.conf.Voters[0] == l.cfg.NodeID {
		if err := l.raft.Campaign(); err != nil { // nobody to wait for
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
	var deadline <-chan time.Time
	asked := ctx.Done()
	removed, grace := l.removal.told, (<-chan time.Time)(nil)
	for {
		ticked := false
		select {
		case <-l.killed:
			return errKilled
		case err := <-failed:
			return err
		case <-asked:
			asked = nil
			if !l.beginStop() {
				return l.removal.err()
			}
			timer := time.NewTimer(l.cfg.StopTimeout)
			defer timer.Stop()
			deadline = timer.C
		case <-deadline:
			l.log.Warn("stopping without having handed over the leadership", "waited", l.cfg.StopTimeout)
			return nil
		case <-l.tick.C:
			ticked = true
		case t := <-l.asked:
			l.beginTransfer(t)
		case c := <-l.changes:
			l.enqueue(c)
		case <-removed:
			removed = nil
			l.retire()
			timer := time.NewTimer(l.cfg.RemovalGrace)
			defer timer.Stop()
			grace = timer.C
		case <-grace:
			return l.removal.err()
		case <-l.waiting():
			l.hungry = true
		case <-l.bulkReady():
		case <-l.transport.urgent.ready:
		case <-l.transport.reports.ready:
		case <-l.reads.ready:
		case <-l.queue.eased:
		case now := <-l.news.late():
			l.deliverNews(now)
		case now := <-l.thrift.late():
			l.deliverEntries(now)
		case <-l.more():
		}
		if err := l.turn(ticked); err != nil {
			return err
		}
		if l.stopping && l.handedOver() {
			return l.removal.err()
		}
	}
}

// retire is the last thing that a removed node does as one of the group. A leader gives its office away. Any other
// lets no more time pass: it must not ask for votes, nor forget who led, because the requests that its clients
// still have here go there.
func (l *loop) retire() {
	if l.raft.BasicStatus().RaftState != raft.StateLeader {
		l.tick.Stop()
		return
	}
	if to := l.successor(); to != 0 {
		l.raft.TransferLeader(to)
	}
}

// more is ready while there is work that nobody will signal.
func (l *loop) more() <-chan struct{} {
	if l.raft.HasReady() || l.hungry && l.open() {
		return l.always
	}
	return nil
}

// waiting is the batcher's signal, while there is room for a proposal. A signal that is not received stays.
func (l *loop) waiting() <-chan struct{} {
	if l.hungry || !l.open() {
		return nil
	}
	return l.cfg.Batcher.Waiting()
}

// bulkReady is ready when entries of a peer may be read.
func (l *loop) bulkReady() <-chan struct{} {
	if l.queue.full() {
		return nil
	}
	return l.transport.bulk.ready
}

// turn takes in what has arrived, lets the time pass, and handles one Ready. Messages go before the tick: after
// a stall there is one tick and a queue of messages, among them those that keep a leader or a follower in place.
func (l *loop) turn(ticked bool) error {
	l.step(l.transport.urgent)
	if !l.queue.full() {
		l.step(l.transport.bulk)
	}
	l.transport.reports.drain(l.raft)
	if !ticked {
		select {
		case <-l.tick.C:
			ticked = true
		default:
		}
	}
	if ticked {
		l.young.grow(l.raft)
		if !l.young.waits(l.conf.Voters) { // time is what makes a candidate
			l.raft.Tick()
		}
	}
	l.propose()
	l.reconfigure()
	l.read(time.Now())
	if l.raft.HasReady() {
		if err := l.handle(l.raft.Ready()); err != nil {
			return err
		}
	}
	if l.snapshot {
		l.snapshot = false
		if left := l.transport.arrived.leftover(); left != nil {
			l.log.Info("received snapshot is not needed", "index", left.index)
			if err := left.remove(); err != nil {
				return err
			}
		}
	}
	if ticked {
		l.watchTransfer()
		l.trimmer.remind()
		return l.trim()
	}
	return nil
}

// step gives received messages to Raft.
func (l *loop) step(box *mailbox) {
	messages := box.take(receivedAtOnce)
	defer box.done(messages)
	for i, m := range messages {
		l.said.received(&messages[i])
		if l.young.abstains(&messages[i], l.raft, l.conf.Voters) {
			continue
		}
		l.young.written(&messages[i])
		switch m.Type {
		case raftpb.MsgSnap:
			l.snapshot = true
		case raftpb.MsgHeartbeatResp:
			l.heard[m.From] = time.Now()
		case raftpb.MsgReadIndex:
			if l.vouched(&messages[i]) {
				continue
			}
		}
		if err := l.raft.Step(m); err != nil {
			l.log.Debug("message ignored", "type", m.Type.String(), "from", m.From, "error", err)
		}
	}
}

// propose takes one entry from the batcher. One a turn is enough: while a turn waits for the disk, the next
// writes gather, and that is what makes an entry large. Several entries may be on their way to the followers.
func (l *loop) propose() {
	if !l.hungry || !l.open() {
		return
	}
	data := l.cfg.Batcher.Take(l.cfg.MaxEntryBytes)
	switch {
	case len(data) == 0:
		l.hungry = false
		return
	case len(data) > l.cfg.MaxMessageBytes/2:
		l.metrics.refused.Inc()
		l.cfg.Batcher.Dropped(data, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), l.cfg.MaxMessageBytes/2))
		return
	}
	if err := l.raft.Propose(data); err != nil {
		l.metrics.refused.Inc()
		l.cfg.Batcher.Dropped(data, fmt.Errorf("%w: %w", ErrDropped, err))
		return
	}
	l.inflight += int64(len(data))
	l.pipeline++
	l.news.proposed(time.Now())
	l.metrics.proposed.Inc()
	l.metrics.entryBytes.Observe(float64(len(data)))
}

// open says whether a proposal may be taken: this node leads and has said so to the state machine, and neither
// the followers nor apply are too far behind.
func (l *loop) open() bool {
	if l.cfg.Batcher == nil || l.stopping {
		return false
	}
	st := l.raft.BasicStatus()
	return st.RaftState == raft.StateLeader && l.ledTerm.Load() == st.Term && st.LeadTransferee == raft.None &&
		l.pipeline < l.cfg.MaxInflightEntries &&
		l.inflight+int64(l.cfg.MaxEntryBytes) <= int64(l.cfg.MaxUncommittedEntriesSize) && !l.queue.full()
}

// read asks Raft for a read index when readers wait for one.
func (l *loop) read(now time.Time) {
	if l.raft.BasicStatus().Lead == raft.None {
		return // Raft would drop it without a word
	}
	id, again := l.reads.request(now, l.cfg.ReadRetry)
	if id == nil {
		return
	}
	l.metrics.readRequests.Inc()
	if again {
		l.metrics.readRetries.Inc()
	}
	l.raft.ReadIndex(id)
}
