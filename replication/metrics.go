package replication

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"geogate/replication/health"
	"geogate/replication/registrar"
	"geogate/replication/wire"
)

const (
	namespace      = "geogate_replication"
	clockNamespace = "geogate_clock"
)

// metrics are the package's counters, and a collector that reads gauges off the engine, so that what is
// unknown has no sample instead of a wrong one.
type metrics struct {
	reg prometheus.Registerer
	all []prometheus.Collector

	framesShipped   *prometheus.CounterVec
	bytesShipped    *prometheus.CounterVec
	shipmentsPacked *prometheus.CounterVec
	framesPacked    *prometheus.CounterVec
	bytesPacked     *prometheus.CounterVec
	framesReceived  *prometheus.CounterVec
	bytesReceived   *prometheus.CounterVec
	publishErrors   prometheus.Counter
	generations     prometheus.Counter
	handshakes      *prometheus.CounterVec
	pulls           *prometheus.CounterVec
	refused         *prometheus.CounterVec
	acksSent        *prometheus.CounterVec
	acksReceived    *prometheus.CounterVec
	acksRefused     *prometheus.CounterVec
	transitions     *prometheus.CounterVec
	breakerChanges  *prometheus.CounterVec
	breakerRefused  prometheus.Counter
	snapshots       *prometheus.CounterVec
	fetchSent       *prometheus.CounterVec
	fetchReceived   *prometheus.CounterVec
	relayed         *prometheus.CounterVec
	verifyRounds    *prometheus.CounterVec
	rested          *prometheus.CounterVec
	future          *prometheus.CounterVec
	calls           *prometheus.CounterVec
	callsServed     *prometheus.CounterVec
	homes           *registrar.Metrics
}

func newMetrics(reg prometheus.Registerer, e *Engine) (*metrics, error) {
	m := &metrics{reg: reg}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + "_" + name, Help: help}, labels)
		m.all = append(m.all, c)
		return c
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: namespace + "_" + name, Help: help})
		m.all = append(m.all, c)
		return c
	}
	m.framesShipped = vec("frames_shipped_total", "Frames that JetStream has taken, live or for a difference.", "source")
	m.bytesShipped = vec("bytes_shipped_total", "The same in compressed bytes.", "source")
	m.shipmentsPacked = vec("shipments_packed_total", "Shipments that the packed frames went into; they share one where they may.", "source")
	m.framesPacked = vec("frames_packed_total", "Frames that were compressed to be shipped, by codec: zstd, s2, none.", "source", "codec")
	m.bytesPacked = vec("bytes_packed_total", "The same in bytes before compression.", "source", "codec")
	m.framesReceived = vec("frames_received_total", "Frames of an origin that were proposed here.", "origin")
	m.bytesReceived = vec("bytes_received_total", "Compressed bytes of whole frames received from an origin.", "origin")
	m.rested = vec("catch_up_rest_seconds_total", "Time for which what was missed of an origin was left alone for the sake of local clients, as limits.catch_up_percent says.", "origin")
	m.publishErrors = counter("publish_errors_total", "Failures to publish into the outbox stream or to make it.")
	m.generations = counter("outbox_streams_created_total", "Times that the outbox stream was made anew.")
	m.handshakes = vec("handshakes_total", "Answers to a peer's handshakes.", "peer", "status")
	m.pulls = vec("sessions_total", "Pulls from an origin by why they ended.", "origin", "end")
	m.refused = vec("messages_refused_total", "Messages of a peer that did not verify.", "peer", "kind")
	m.acksSent = vec("acks_sent_total", "Acks sent to an origin.", "origin")
	m.acksReceived = vec("acks_received_total", "Acks of a peer that counted.", "peer")
	m.acksRefused = vec("acks_refused_total", "Acks of a peer that did not count.", "peer")
	m.transitions = vec("health_changes_total", "Changes of a peer's health.", "peer", "to")
	m.breakerChanges = vec("breaker_changes_total", "Changes of the breaker in front of the waits for a peer.", "peer", "to")
	m.breakerRefused = counter("breaker_refused_total", "Writes that were refused because enough others try a peer that is coming back; nothing was written.")
	m.snapshots = vec("snapshots_total", "Snapshots of a peer by result: begun, merged.", "from", "result")
	m.fetchSent = vec("fetch_sent_bytes_total", "Compressed bytes of snapshots and third datacenters' frames sent.", "peer")
	m.fetchReceived = vec("fetch_received_bytes_total", "The same received.", "peer")
	m.relayed = vec("frames_relayed_total", "Frames of an origin that another datacenter sent, and that were proposed here.", "origin", "from")
	m.verifyRounds = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "geogate_verify_rounds_total", Help: "Comparisons of the data with a peer's by result: complete, failed.",
	}, []string{"peer", "result"})
	m.all = append(m.all, m.verifyRounds)
	m.calls = vec("calls_total", "Requests of clients that another datacenter was to answer, by what became of them.", "dc", "result")
	m.callsServed = vec("calls_served_total", "Requests of another datacenter's clients that were answered here.", "dc", "result")
	m.future = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: clockNamespace + "_future_frames_total",
		Help: "Frames of an origin that were received with stamps ahead of this node's clock by more than max_clock_skew; they were taken.",
	}, []string{"origin"})
	m.all = append(m.all, m.future, &gauges{e: e})
	if reg == nil {
		return m, nil
	}
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m == nil || m.reg == nil {
		return
	}
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}

// gauges reads the state of the peers when it is scraped.
type gauges struct{ e *Engine }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
}

func descLagSeconds() *prometheus.Desc {
	return desc("lag_seconds", "Age of the oldest committed transaction that the peer has not confirmed; no sample when unknown.", "peer")
}

func descLagTxns() *prometheus.Desc {
	return desc("lag_txns", "Committed transactions that the peer has not confirmed; no sample when unknown.", "peer")
}

func descLagBytes() *prometheus.Desc {
	return desc("lag_bytes", "Bytes of frames that the peer has not confirmed; no sample when unknown.", "peer")
}

func descHealth() *prometheus.Desc {
	return desc("health_state", "1 for the state that the peer is in, 0 for the others.", "peer", "state")
}

func descRTT() *prometheus.Desc {
	return desc("rtt_seconds", "Round trip to the node that leads the peer; no sample when unknown.", "peer")
}

func descSkew() *prometheus.Desc {
	return prometheus.NewDesc(clockNamespace+"_skew_seconds", "The peer's clock minus this one; no sample when unknown.", []string{"peer"}, nil)
}

func descFenced() *prometheus.Desc {
	return prometheus.NewDesc(clockNamespace+"_fenced", "1 while this node's clock is so far ahead that multi-writer writes are refused.", nil, nil)
}

func descNeedsSnapshot() *prometheus.Desc {
	return desc("needs_snapshot", "1 while the peer stands behind the frames that are retained here.", "peer")
}

func descVerifyAge() *prometheus.Desc {
	return prometheus.NewDesc("geogate_verify_last_ok_age_seconds",
		"Age of the oldest proof that a part of the data is equal to the peer's; no sample until all of it has been proven since this node leads.",
		[]string{"peer"}, nil)
}

func descVerifyBuckets() *prometheus.Desc {
	return prometheus.NewDesc("geogate_verify_buckets",
		"Parts of the data by the last comparison with the peer: equal, pending (not comparable at that moment), different.", []string{"peer", "state"}, nil)
}

func descVerifyKeys() *prometheus.Desc {
	return prometheus.NewDesc("geogate_verify_different_keys",
		"Keys that differ from the peer's although both have applied the same writes, as far as they are named.", []string{"peer", "keyspace"}, nil)
}

func descVerifySystem() *prometheus.Desc {
	return prometheus.NewDesc("geogate_verify_different_system_entries",
		"Users, roles and settings that differ from the peer's although both have applied the same writes, as far as they are named.", []string{"peer"}, nil)
}

func descReceiver() *prometheus.Desc {
	return desc("receiver_up", "1 while frames of the origin are pulled.", "origin")
}

func descBreaker() *prometheus.Desc {
	return desc("breaker_state", "1 for the state of the breaker in front of the waits for the peer, 0 for the others: closed, open, half-open.", "peer", "state")
}

func descCause() *prometheus.Desc {
	return desc("peer_cause", "1 for the cause for which the peer is not heard from, 0 for the others: dc down, link broken, one-way, unknown.", "peer", "cause")
}

func descTakesZstd() *prometheus.Desc {
	return desc("peer_takes_zstd", "1 when the peer takes frames under zstd, 0 when it keeps the frames for all peers under s2; no sample when unknown.", "peer")
}

func descWaiting() *prometheus.Desc {
	return desc("waiting_writes", "Writes that wait for a policy.")
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descLagSeconds(), descLagTxns(), descLagBytes(), descHealth(), descRTT(), descSkew(), descReceiver(), descWaiting(), descNeedsSnapshot(), descFenced(), descCause(), descBreaker(), descTakesZstd(),
		descVerifyAge(), descVerifyBuckets(), descVerifyKeys(), descVerifySystem(),
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	l := g.e.current.Load()
	if l == nil {
		return
	}
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	known := func(d *prometheus.Desc, v *float64, scale float64, labels ...string) {
		if v != nil {
			send(d, *v*scale, labels...)
		}
	}
	send(descWaiting(), float64(l.tracker.Waiting()))
	send(descFenced(), is(l.refusal.Load() != nil))
	keyspaces := slices.Compact(slices.Sorted(slices.Values(append([]string{""}, l.cfg.Prefixes...))))
	for _, name := range l.order {
		s := l.status(l.peers[name])
		known(descLagSeconds(), s.LagSeconds, 1, name)
		known(descRTT(), s.RTTMillis, 1e-3, name)
		known(descSkew(), s.SkewMillis, 1e-3, name)
		if s.LagTxns != nil {
			send(descLagTxns(), float64(*s.LagTxns), name)
			send(descLagBytes(), float64(*s.LagBytes), name)
		}
		for _, state := range health.States() {
			send(descHealth(), is(s.Health == state.String()), name, state.String())
		}
		for _, state := range health.BreakerStates() {
			send(descBreaker(), is(s.Breaker == string(state)), name, string(state))
		}
		for _, cause := range health.Causes() {
			send(descCause(), is(s.Cause == string(cause)), name, string(cause))
		}
		send(descNeedsSnapshot(), is(s.NeedsSnapshot != ""), name)
		if s.Codec != "" {
			send(descTakesZstd(), is(s.Codec == wire.Codec_CODEC_ZSTD.Label()), name)
		}
		if v := s.Verify; v.Buckets > 0 {
			known(descVerifyAge(), v.LastOK, 1, name)
			send(descVerifyBuckets(), float64(v.Equal), name, "equal")
			send(descVerifyBuckets(), float64(v.Pending), name, "pending")
			send(descVerifyBuckets(), float64(v.Different), name, "different")
			for _, keyspace := range keyspaces {
				send(descVerifyKeys(), float64(v.Keyspaces[keyspace]), name, keyspace)
			}
			send(descVerifySystem(), float64(v.System), name)
		}
		send(descReceiver(), is(s.Receiver.State == ReceiverPulling), name)
	}
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
