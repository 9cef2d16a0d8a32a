package registrar

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of all registrars of a process: one follows the other as leadership comes and goes.
type Metrics struct {
	answers   *prometheus.CounterVec
	failed    *prometheus.CounterVec
	forbidden *prometheus.CounterVec
	moves     *prometheus.CounterVec
	moving    *prometheus.GaugeVec
	epoch     *prometheus.GaugeVec
	here      *prometheus.GaugeVec
	fenced    *prometheus.GaugeVec
	barred    *prometheus.GaugeVec
	held      *prometheus.GaugeVec
	diverged  *prometheus.GaugeVec
	automatic *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
}

func newMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "geogate_homes_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "geogate_homes_" + name, Help: help}, []string{"keyspace"})
	}
	return &Metrics{
		answers:   counter("answers_total", "Answers of acceptors to commands, by the acceptor's datacenter.", "dc", "command", "answer"),
		failed:    counter("exchanges_failed_total", "Commands to an acceptor that got no answer.", "dc", "command"),
		forbidden: counter("forbidden_total", "Commands that the datacenter which sent them may not send.", "dc"),
		moves:     counter("moves_total", "Moves that ended at this datacenter, by kind and result.", "kind", "result"),
		automatic: counter("automatic_failovers_total", "Failovers that were started because the home was down.", "keyspace"),
		moving:    gauge("moving", "1 while this datacenter drives a move of the keyspace."),
		epoch:     gauge("epoch", "Epoch of the keyspace as this datacenter knows it."),
		here:      gauge("open", "1 while this datacenter is the home and takes writes."),
		fenced:    gauge("fenced", "1 while a move is open at this datacenter's acceptor."),
		barred:    gauge("barred", "1 while this datacenter's acceptor does not vote, because it is new or lost its past, and has not caught up."),
		held:      gauge("lease_seconds", "How much longer the home holds its lease; 0 where it is not home or holds none."),
		diverged:  gauge("diverged", "1 when two homes were decided in one epoch: the keyspace stands still until an operator looks."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "geogate_homes_move_seconds", Help: "How long moves took until they were decided, by kind.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 14),
		}, []string{"kind"}),
	}
}

// NewMetrics registers the metrics; nil keeps them private.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := newMetrics()
	if reg == nil {
		return m, nil
	}
	for i, c := range m.all() {
		if err := reg.Register(c); err != nil {
			for _, done := range m.all()[:i] {
				reg.Unregister(done)
			}
			return nil, fmt.Errorf("register metrics of homes: %w", err)
		}
	}
	return m, nil
}

// Unregister takes them away again.
func (m *Metrics) Unregister(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	for _, c := range m.all() {
		reg.Unregister(c)
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.answers, m.failed, m.forbidden, m.moves, m.moving, m.epoch, m.here, m.fenced, m.barred, m.held, m.diverged, m.automatic, m.seconds}
}

// forget takes away what a leader says of a keyspace: the next one may be on another node, and an old word must not be
// taken for a present one.
func (m *Metrics) forget(keyspace string) {
	for _, g := range []*prometheus.GaugeVec{m.moving, m.epoch, m.here, m.fenced, m.barred, m.held, m.diverged} {
		g.DeleteLabelValues(keyspace)
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
