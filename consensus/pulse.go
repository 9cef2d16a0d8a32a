package consensus

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

// pulse answers for the loop while that waits for the disk, so that a stall of a few seconds costs nobody the
// leadership: a leader goes on sending heartbeats, and a follower goes on answering them, without which the
// leader's check of its quorum would fail.
//
// This promises nothing that the loop would not: during a save the loop changes no Raft state, the term is one
// that is on disk already, the heartbeats carry no commit index, and an answered heartbeat is handed to the loop
// all the same. It ends after Config.MaxDiskStall, so a dead disk does lose the leadership.
type pulse struct {
	self     uint64
	interval time.Duration
	limit    time.Duration
	send     func(raftpb.Message)
	count    func()          // a message was sent
	peers    func() []uint64 // who is sent a leader's heartbeats
	late     *time.Timer     // fires when a save may have taken longer than an interval

	mu     sync.Mutex
	since  time.Time // start of the save; zero while the loop runs
	term   uint64
	leader uint64
	armed  bool // late will fire
}

func newPulse(cfg *Config) *pulse {
	p := &pulse{self: cfg.NodeID, interval: cfg.heartbeatInterval(), limit: cfg.MaxDiskStall, late: time.NewTimer(time.Hour)}
	p.late.Stop()
	return p
}

// begin is called by the loop before it waits for the disk. A leader of 0 means that there is nothing to say.
// The timer runs on from save to save, because to set it anew for each can make the runtime wake an idle thread each time.
func (p *pulse) begin(term, leader uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.term, p.leader = time.Now(), term, leader
	if p.leader == p.self && !p.armed {
		p.armLocked(p.interval)
	}
}

// end is called by the loop when it goes on.
func (p *pulse) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Time{}
}

func (p *pulse) armLocked(d time.Duration) {
	p.armed = true
	p.late.Reset(d)
}

// run sends a stalled leader's heartbeats until ctx ends.
func (p *pulse) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.late.C:
			p.beat(time.Now())
		}
	}
}

func (p *pulse) beat(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	stalled := p.stalledLocked(now)
	if stalled == 0 || p.leader != p.self {
		return
	}
	if stalled < p.interval { // a later save than the one for which the timer was set
		p.armLocked(p.interval - stalled)
		return
	}
	p.armLocked(p.interval)
	for _, to := range p.peers() {
		p.send(raftpb.Message{Type: raftpb.MsgHeartbeat, From: p.self, To: to, Term: p.term})
		p.count()
	}
}

// heard answers a heartbeat that arrives while the loop waits for the disk.
func (p *pulse) heard(m *raftpb.Message) {
	if m.Type != raftpb.MsgHeartbeat {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalledLocked(time.Now()) == 0 || m.Term != p.term || m.From != p.leader {
		return
	}
	p.send(raftpb.Message{Type: raftpb.MsgHeartbeatResp, From: p.self, To: m.From, Term: p.term, Context: m.Context})
	p.count()
}

// stalledLocked is how long the loop has been waiting, 0 when it is not or for too long.
func (p *pulse) stalledLocked(now time.Time) time.Duration {
	if p.since.IsZero() {
		return 0
	}
	if d := now.Sub(p.since); d < p.limit {
		return max(d, 1)
	}
	return 0
}
