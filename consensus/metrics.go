package consensus

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one node.
type metrics struct {
	saveSeconds       prometheus.Histogram
	applySeconds      prometheus.Histogram
	readSeconds       prometheus.Histogram
	entryBytes        prometheus.Histogram
	proposed          prometheus.Counter
	refused           prometheus.Counter
	applied           prometheus.Counter
	leaderChanges     prometheus.Counter
	sent              prometheus.Counter
	dropped           prometheus.Counter
	readRequests      prometheus.Counter
	readRetries       prometheus.Counter
	readsVouched      prometheus.Counter
	stallBeats        prometheus.Counter
	restored          prometheus.Counter
	changes           *prometheus.CounterVec
	snapshotsSent     *prometheus.CounterVec
	snapshotsReceived *prometheus.CounterVec

	registered []prometheus.Collector
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "geogate_raft_" + name, Help: help})
	}
	histogram := func(name, help string, first float64, n int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "geogate_raft_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(first, 2, n)})
	}
	results := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "geogate_raft_" + name, Help: help}, []string{"result"})
	}
	return &metrics{
		saveSeconds:   histogram("wal_fsync_seconds", "Time to write and fsync one batch of the log.", 50e-6, 17),
		applySeconds:  histogram("apply_seconds", "Time of one call of the state machine's Apply.", 10e-6, 20),
		readSeconds:   histogram("read_index_seconds", "Time from the first reader of a round to its read index.", 100e-6, 16),
		entryBytes:    histogram("entry_bytes", "Size of proposed entries.", 64, 15),
		proposed:      counter("entries_proposed_total", "Entries taken from the batcher and proposed."),
		refused:       counter("entries_refused_total", "Entries taken from the batcher and given back."),
		applied:       counter("entries_applied_total", "Entries applied by the state machine."),
		leaderChanges: counter("leader_changes_total", "Changes of the leader known to this node."),
		sent:          counter("messages_sent_total", "Messages queued for peers."),
		dropped:       counter("messages_dropped_total", "Messages dropped because a peer's queue was full or not connected."),
		readRequests:  counter("read_index_requests_total", "Requests for a read index; one serves all readers of a round."),
		readRetries:   counter("read_index_retries_total", "Requests for a read index repeated because no answer came."),
		readsVouched:  counter("read_index_vouched_total", "Followers' requests for a read index that a leader answered without asking anybody."),
		stallBeats:    counter("stall_messages_total", "Heartbeats sent or answered while the disk was stalled."),
		restored:      counter("snapshots_restored_total", "Snapshots restored by the state machine."),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "geogate_raft_membership_changes_total",
			Help: "Changes of membership applied, by what they did."}, []string{"change"}),
		snapshotsSent:     results("snapshots_sent_total", "Snapshots sent to followers."),
		snapshotsReceived: results("snapshots_received_total", "Snapshots received from a leader."),
	}
}

// register adds the metrics, and gauges that read the node, to r; nil means off.
func (m *metrics) register(r prometheus.Registerer, n *Node) error {
	if r == nil {
		return nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "geogate_raft_" + name, Help: help}, f)
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	var err error
	for _, c := range []prometheus.Collector{
		m.saveSeconds, m.applySeconds, m.readSeconds, m.entryBytes, m.proposed, m.refused, m.applied, m.leaderChanges,
		m.sent, m.dropped, m.readRequests, m.readRetries, m.readsVouched, m.stallBeats, m.restored, m.changes, m.snapshotsSent, m.snapshotsReceived,
		gauge("members", "Members of the group known to this node, learners included.", func() float64 { return float64(len(n.book.get().Members)) }),
		gauge("learners", "Members of the group that follow and do not vote.", func() float64 { return float64(n.book.get().learners()) }),
		gauge("term", "Current term.", func() float64 { return float64(n.Status().Term) }),
		gauge("has_leader", "Whether a leader is known.", func() float64 { return truth(n.Status().Leader != 0) }),
		gauge("is_leader", "Whether this node leads.", func() float64 { return truth(n.Status().Leading) }),
		gauge("commit_index", "Highest index known to be committed.", func() float64 { return float64(n.Status().Commit) }),
		gauge("applied_index", "Highest index applied by the state machine.", func() float64 { return float64(n.Status().Applied) }),
		gauge("last_index", "Highest index in the log.", func() float64 { return float64(n.Status().LastIndex) }),
		gauge("durable_index", "Highest index that the state machine has on its own disk.", func() float64 { return float64(n.mem.durable.Load().index) }),
		gauge("apply_queue_bytes", "Committed entries that wait for the state machine.", func() float64 { return float64(n.queue.size()) }),
		gauge("lanes_down", "Lanes of messages to other members that have no stream; each has two.", func() float64 { return n.transport.lanes((*lane).down) }),
		gauge("lanes_direct", "Lanes of messages to other members that have a connection of their own.", func() float64 { return n.transport.lanes((*lane).direct) }),
		gauge("log_memory_bytes", "Entries held in memory.", func() float64 { return float64(n.mem.bytes.Load()) }),
	} {
		if cerr := r.Register(c); cerr != nil {
			err = errors.Join(err, cerr)
			continue
		}
		m.registered = append(m.registered, c)
	}
	if err != nil {
		m.unregister(r)
	}
	return err
}

// unregister takes back what register added, so that the node can be opened again in this process.
func (m *metrics) unregister(r prometheus.Registerer) {
	for _, c := range m.registered {
		r.Unregister(c)
	}
	m.registered = nil
}
