package dc

import (
	"github.com/prometheus/client_golang/prometheus"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

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
	swept     prometheus.Counter
	restored  prometheus.Gauge
	repairs   *prometheus.CounterVec
	alarms    *prometheus.GaugeVec

	autoCompactions *prometheus.CounterVec

	leases                                          prometheus.Gauge
	granted, revoked, expired, renewed, checkpoints prometheus.Counter

	authRevision, authMalformed, withoutRoot prometheus.Gauge

	replicaChecks  *prometheus.CounterVec
	replicaDiffers prometheus.Gauge

	homes *homeMetrics
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
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
		swept: counter("geogate_dc_restore_swept_total", "Keys and system entries that a backup had brought back and that were deleted again."),
		restored: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "geogate_dc_restore_pending", Help: "1 while the data comes from a backup and has not been compared with all other datacenters.",
		}),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_dc_repairs_total",
			Help: "Repairs of single keys by result: applied, or passed when the wrong version was gone already.",
		}, []string{"result"}),
		alarms: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "geogate_dc_alarms", Help: "Alarms that are raised, by type; one for each node that raised it.",
		}, []string{"alarm"}),
		autoCompactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_dc_auto_compactions_total", Help: "Compactions that nobody asked for, by result: done or failed.",
		}, []string{"result"}),
		leases:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "geogate_leases", Help: "Leases that this datacenter has granted and that have not ended."}),
		granted:     counter("geogate_leases_granted_total", "Leases granted."),
		revoked:     counter("geogate_leases_revoked_total", "Leases that a client ended."),
		expired:     counter("geogate_leases_expired_total", "Leases that ended because nobody renewed them in time."),
		renewed:     counter("geogate_leases_renewed_total", "Keepalives of leases that were alive, at the leader."),
		checkpoints: counter("geogate_leases_checkpoints_total", "Times that the rest of a lease was written to the log, or taken back."),
	}
	m.autoCompactions.WithLabelValues("done")
	m.autoCompactions.WithLabelValues("failed")
	m.showAlarms(nil)
	m.authRevision = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "geogate_dc_auth_revision", Help: "Revision of users and roles in force on this node; it grows with each change.",
	})
	m.homes = newHomeMetrics()
	m.withoutRoot = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "geogate_dc_auth_without_root", Help: "1 while authentication was enabled and is off because no root user with the root role is left: everybody may do everything.",
	})
	m.authMalformed = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "geogate_dc_auth_malformed_entries", Help: "Entries of users and roles that can't be read; they are kept and permit nothing. Anything but 0 needs somebody.",
	})
	m.replicaChecks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "geogate_dc_replica_checks_total", Help: "Comparisons of this node's data with that of the node which leads, by result: equal or different.",
	}, []string{"result"})
	m.replicaDiffers = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "geogate_dc_replica_differs", Help: "1 while this node's data differs from that of the node which leads, by the last comparison.",
	})
	for _, result := range []string{"equal", "different"} {
		m.replicaChecks.WithLabelValues(result)
	}
	if r != nil {
		r.MustRegister(m.homes.collectors()...)
		r.MustRegister(m.writes, m.frames, m.txns, m.conflicts, m.requests, m.trims, m.merged, m.adopted, m.swept, m.restored, m.repairs, m.alarms, m.autoCompactions,
			m.leases, m.granted, m.revoked, m.expired, m.renewed, m.checkpoints, m.authRevision, m.withoutRoot, m.authMalformed, m.replicaChecks, m.replicaDiffers)
	}
	return m
}

// watch shows the room on the disk.
func (m *metrics) watch(r prometheus.Registerer, s *space) {
	if r == nil {
		return
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "geogate_dc_disk_free_bytes", Help: "Free on the disk of this node's data; -1 while that is unknown.",
	}, func() float64 { return float64(s.left.Load()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "geogate_dc_disk_low", Help: "1 while this node's disk is nearly full: as the leader it would refuse puts.",
	}, func() float64 {
		if s.low.Load() {
			return 1
		}
		return 0
	}))
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

func (m *metrics) showAlarms(as alarms) {
	for _, t := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		m.alarms.WithLabelValues(t.String()).Set(float64(len(as.sorted(t))))
	}
}

func (m *metrics) showRestored(r *restored) {
	m.restored.Set(0)
	if r != nil {
		m.restored.Set(1)
	}
}

func (m *metrics) requestRepeated() { m.requests.WithLabelValues("repeated").Inc() }

func (m *metrics) requestReused() { m.requests.WithLabelValues("reused").Inc() }
