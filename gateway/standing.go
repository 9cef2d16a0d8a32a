package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"geogate/replication"
)

const (
	// standingInterval is how often the peers' lag is read. Writes use what was read last.
	standingInterval = 25 * time.Millisecond
	// unknownGrace is for how long after this node began to lead a write over the budget waits for a lag that is
	// unknown, whatever on_exceed says: the peers say where they stand within their first heartbeats.
	unknownGrace = time.Second
)

// pending are writes that are admitted and that no lag which was read shows yet.
type pending struct{ txns, bytes int64 }

// standing is what the leader read of its peers at one moment. Only the counters change.
type standing struct {
	peers   []replication.PeerStatus
	leading bool
	term    uint64
	since   time.Time     // this node leads in term since; zero when it does not
	at      time.Time     // of the reading
	next    chan struct{} // closed when there is a newer one

	txns, bytes atomic.Int64 // admitted since
}

func newStanding() *standing { return &standing{next: make(chan struct{})} }

// starting says that a lag may be unknown only because this node leads since a moment ago.
func (st *standing) starting() bool { return !st.leading || st.at.Sub(st.since) < unknownGrace }

// watchPeers keeps the standing fresh until ctx ends.
func (s *Server) watchPeers(ctx context.Context) {
	tick := time.NewTicker(standingInterval)
	defer tick.Stop()
	for {
		s.lookAtPeers(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lookAtPeers reads the peers once. What is in flight is read first, so that a write that is committed
// meanwhile counts twice for a moment rather than not at all.
func (s *Server) lookAtPeers(now time.Time) {
	old, st := s.standing.Load(), newStanding()
	st.at = now
	st.txns.Store(s.inflightTxns.Load())
	st.bytes.Store(s.inflightBytes.Load())
	if st.term, st.leading = s.dc.Leading(); st.leading {
		st.peers, st.since = s.dataPeers(), now
		if old.leading && old.term == st.term {
			st.since = old.since
		}
	}
	s.standing.Store(st)
	close(old.next)
	s.keyspaces.each(func(prefix string, r rule) {
		s.metrics.showBudget(prefix, r, st)
		if r.degrade != nil {
			s.lookAt(r.degrade.of[0], st)
		}
	})
}
