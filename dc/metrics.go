package dc

import (
	"github.com/prometheus/client_golang/prometheus"

	"geogate/replication/event"
)

type metrics struct {
	writes    prometheus.Counter
	frames    *prometheus.CounterVec
	txns      *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	requests  *prometheus.CounterVec
	trims     *prometheus.CounterVec
	merged    prometheus.Counter
	adopted   *prometheus.CounterVec

	authRevision prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		writes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "geogate_dc_writes_total", Help: "Local transactions that changed something.",
		}),
		frames: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_dc_frames_total", Help: "Frames applied here by origin and result: sealed, applied, repeated, refused.",
		}, []string{"origin", "result"}),
		txns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_dc_remote_txns_total", Help: "Transactions of other datacenters applied here.",
		}, []string{"origin"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_dc_conflicts_total", Help: "Pairs of versions of a key written without knowledge of each other.",
		}, []string{"origin"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_dc_repeated_requests_total",
			Help: "Writes with a known request id by result: repeated (answered as before) or reused (another request, refused).",
		}, []string{"result"}),
		trims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_dc_retention_trims_total", Help: "Times that frames some datacenter has not confirmed were dropped, being too many or too old.",
		}, []string{"origin"}),
		merged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "geogate_dc_snapshot_keys_total", Help: "Keys that changed here because of another datacenter's snapshot.",
		}),
		adopted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_dc_snapshots_total", Help: "Snapshots of another datacenter that were merged completely.",
		}, []string{"from"}),
	}
	m.authRevision = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "geogate_dc_auth_revision", Help: "Revision of users and roles in force on this node; it grows with each change.",
	})
	if r != nil {
		r.MustRegister(m.writes, m.frames, m.txns, m.conflicts, m.requests, m.trims, m.merged, m.adopted, m.authRevision)
	}
	return m
}

func (m *metrics) frameSealed(s *event.Sealed) {
	m.writes.Add(float64(s.Txns))
	m.frames.WithLabelValues(s.Origin, "sealed").Inc()
}

func (m *metrics) frameApplied(s *event.Sealed, conflicts int) {
	m.frames.WithLabelValues(s.Origin, "applied").Inc()
	m.txns.WithLabelValues(s.Origin).Add(float64(s.Txns))
	m.conflicts.WithLabelValues(s.Origin).Add(float64(conflicts))
}

func (m *metrics) frameRepeated(origin string) { m.frames.WithLabelValues(origin, "repeated").Inc() }

func (m *metrics) frameRefused(origin string) { m.frames.WithLabelValues(origin, "refused").Inc() }

func (m *metrics) requestRepeated() { m.requests.WithLabelValues("repeated").Inc() }

func (m *metrics) requestReused() { m.requests.WithLabelValues("reused").Inc() }
