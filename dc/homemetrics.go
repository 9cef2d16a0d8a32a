package dc

import "github.com/prometheus/client_golang/prometheus"

// homeMetrics are those of single-writer keyspaces.
type homeMetrics struct {
	learned, diverged  prometheus.Counter
	refused            prometheus.Counter
	held               *prometheus.CounterVec
	takenBack          prometheus.Counter
	setAside           prometheus.Counter
	asideWrites, bytes prometheus.Gauge
	full               prometheus.Gauge
}

func newHomeMetrics() *homeMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &homeMetrics{
		learned:  counter("geogate_homes_learned_total", "Decisions on the home of a keyspace that were learnt here."),
		diverged: counter("geogate_homes_diverged_total", "Two decisions in one epoch without force: an invariant is broken."),
		refused:  counter("geogate_homes_refused_writes_total", "Local writes to a single-writer keyspace that were refused when they were applied."),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "geogate_homes_held_frames_total", Help: "Frames that were not applied yet because a keyspace is being moved.",
		}, []string{"origin"}),
		takenBack:   counter("geogate_homes_taken_back_total", "Writes that had been applied here, don't count after a failover, and were taken back."),
		setAside:    counter("geogate_homes_set_aside_total", "Writes that don't count after a failover and were set aside here."),
		asideWrites: gauge("geogate_homes_aside_writes", "Writes that are set aside here and not discarded."),
		bytes:       gauge("geogate_homes_aside_bytes", "Bytes of writes that are set aside here."),
		full:        gauge("geogate_homes_aside_full", "1 while replication waits because there is no room to set writes aside."),
	}
}

func (m *homeMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.learned, m.diverged, m.refused, m.held, m.takenBack, m.setAside, m.asideWrites, m.bytes, m.full}
}

func (m *metrics) showAside(c *asideCount, full bool) {
	m.homes.asideWrites.Set(float64(c.writes))
	m.homes.bytes.Set(float64(c.bytes))
	m.homes.full.Set(0)
	if full {
		m.homes.full.Set(1)
	}
}
