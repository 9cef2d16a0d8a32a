package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// homeMetrics are of single-writer keyspaces.
type homeMetrics struct {
	homeForwards  *prometheus.CounterVec
	homeSeconds   prometheus.Histogram
	homeRefused   prometheus.Counter
	homeServes    *prometheus.CounterVec
	readPoints    *prometheus.CounterVec
	readPointTime prometheus.Histogram
}

func newHomeMetrics() homeMetrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "geogate", Subsystem: "gateway", Name: name, Help: help}
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "geogate", Subsystem: "gateway", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		})
	}
	return homeMetrics{
		homeForwards: prometheus.NewCounterVec(prometheus.CounterOpts(opts("home_forwarded_total",
			"Writes sent to the home of their keyspace in another datacenter, by result: answered, failed (the home refused it, or its outcome is not known), again (the home was looked for anew).")), []string{"result"}),
		homeSeconds: histogram("home_forward_seconds", "Time of a write at its home in another datacenter until its answer could be given here."),
		homeRefused: prometheus.NewCounter(prometheus.CounterOpts(opts("home_refused_total",
			"Requests refused because no home could serve their keyspace."))),
		homeServes: prometheus.NewCounterVec(prometheus.CounterOpts(opts("home_served_total",
			"Calls of other datacenters' gateways answered, by datacenter, call and gRPC code.")), []string{"from", "call", "code"}),
		readPoints: prometheus.NewCounterVec(prometheus.CounterOpts(opts("read_points_total",
			"Questions to a home in another datacenter up to where a linearizable read must see, by result: answered, failed.")), []string{"result"}),
		readPointTime: histogram("read_point_seconds", "Time from such a question until this node had applied all that its answer names."),
	}
}

func (m *homeMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.homeForwards, m.homeSeconds, m.homeRefused, m.homeServes, m.readPoints, m.readPointTime}
}

func (m *homeMetrics) homeForwarded(again bool, err error, start time.Time) {
	result := "answered"
	switch {
	case again:
		result = "again"
	case err != nil:
		result = "failed"
	default:
		m.homeSeconds.Observe(time.Since(start).Seconds())
	}
	m.homeForwards.WithLabelValues(result).Inc()
}

func (m *homeMetrics) homeServed(from, call string, code codes.Code) {
	if !knownCalls[call] {
		call = "other" // a peer's text must not make a series
	}
	m.homeServes.WithLabelValues(from, call, code.String()).Inc()
}

func (m *homeMetrics) readPoint(err error, start time.Time) {
	if status.Code(err) != codes.OK {
		m.readPoints.WithLabelValues("failed").Inc()
		return
	}
	m.readPoints.WithLabelValues("answered").Inc()
	m.readPointTime.Observe(time.Since(start).Seconds())
}
