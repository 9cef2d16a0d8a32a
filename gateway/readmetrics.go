package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// readMetrics are of the levels of reads.
type readMetrics struct {
	reads         *prometheus.CounterVec
	readsServed   [levels]prometheus.Counter
	readWaits     [levels]prometheus.Observer // of the levels that wait
	readWaitVec   *prometheus.HistogramVec
	staleness     prometheus.Histogram
	readQuestions *prometheus.CounterVec
}

func newReadMetrics() readMetrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "geogate", Subsystem: "gateway", Name: name, Help: help}
	}
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "geogate", Subsystem: "gateway", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0001, 2, 18)}
	}
	m := readMetrics{
		reads: prometheus.NewCounterVec(prometheus.CounterOpts(opts("reads_total",
			"Ranges and read-only transactions, by level and result: served, too_stale (what is here is older than geogate-max-staleness), no_quorum (too few datacenters for a quorum read), "+
				"behind (what others have did not come here in time), failed (anything else). A node that does not lead asks its leader with small reads of the same level, which count there.")),
			[]string{"level", "result"}),
		readWaitVec: prometheus.NewHistogramVec(histogram("read_wait_seconds",
			"Time for which a read waited for other datacenters' answers, and until this node had applied what they name."), []string{"level"}),
		staleness: prometheus.NewHistogram(histogram("read_staleness_seconds",
			"How old the state was at most that a read with geogate-max-staleness has shown.")),
		readQuestions: prometheus.NewCounterVec(prometheus.CounterOpts(opts("read_questions_total",
			"Questions to other datacenters how far they are, by call and result: answered, failed. Reads share them.")), []string{"call", "result"}),
	}
	for l := range levels {
		m.readsServed[l] = m.reads.WithLabelValues(l.String(), "served")
	}
	for _, l := range []level{levelQuorum, levelBounded} {
		m.readWaits[l] = m.readWaitVec.WithLabelValues(l.String())
	}
	return m
}

func (m *readMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.reads, m.readWaitVec, m.staleness, m.readQuestions}
}

// read counts an answer; err is the gRPC status that goes out.
func (m *readMetrics) read(as reading, serializable bool, err error) {
	l := as.level
	if serializable && l == levelLinearizable {
		l = levelSequential
	}
	if err == nil {
		m.readsServed[l].Inc()
		return
	}
	result := "failed"
	switch {
	case status.Code(err) != codes.FailedPrecondition && status.Code(err) != codes.Unavailable:
	case infoOf(err, reasonTooStale) != nil:
		result = "too_stale"
	case infoOf(err, reasonNoQuorum) != nil:
		result = "no_quorum"
	case infoOf(err, reasonBehind) != nil:
		result = "behind"
	}
	m.reads.WithLabelValues(l.String(), result).Inc()
}

func (m *readMetrics) readWait(l level, start time.Time) {
	m.readWaits[l].Observe(time.Since(start).Seconds())
}

func (m *readMetrics) readQuestion(call string, err error) {
	result := "answered"
	if err != nil {
		result = "failed"
	}
	m.readQuestions.WithLabelValues(call, result).Inc()
}
