package gateway

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/dc/auth"
	"geogate/replication/policy"
)

// method is an RPC with metrics of its own.
type method int

const (
	methodRange method = iota
	methodRangeStream
	methodPut
	methodDeleteRange
	methodTxn
	methodReadTxn
	methodCompact
	methodWait
	methodLeaseGrant
	methodLeaseRevoke
	methodLeaseTimeToLive
	methodLeaseLeases
	methodLeaseRenew // keepalives that were sent to the leader together
	methodAuth
	methodReadAuth
	methodAuthenticate
	methods // their number
)

var methodNames = [methods]string{
	methodRange: "range", methodRangeStream: "range_stream", methodPut: "put", methodDeleteRange: "delete_range", methodTxn: "txn",
	methodReadTxn: "read_txn", methodCompact: "compact", methodWait: "wait",
	methodLeaseGrant: "lease_grant", methodLeaseRevoke: "lease_revoke", methodLeaseTimeToLive: "lease_time_to_live",
	methodLeaseLeases: "lease_leases", methodLeaseRenew: "lease_renew",
	methodAuth: "auth", methodReadAuth: "read_auth", methodAuthenticate: "authenticate",
}

// Reasons of a policy that was not met.
const (
	failUnreachable = "unreachable" // refused, nothing written
	failTimeout     = "timeout"     // written here
	failCanceled    = "canceled"    // written here; the client left
)

const (
	policies = int(policy.All) + 1
	noPolicy = policies // label of what has no policy
)

// metrics are resolved for each method and policy beforehand: a lookup by labels on each request costs more
// than the rest of the bookkeeping.
type metrics struct {
	requests   *prometheus.CounterVec
	succeeded  [methods][policies + 1]prometheus.Counter
	seconds    [methods][policies + 1]prometheus.Observer
	failures   *prometheus.CounterVec
	policyWait [policies]prometheus.Observer
	forwarded  prometheus.Counter

	fenceRefused prometheus.Counter

	afterWait   prometheus.Histogram
	afterFailed prometheus.Counter

	rpoUsed    *prometheus.GaugeVec
	rpoDelayed prometheus.Counter
	rpoRefused prometheus.Counter
	rpoDelay   prometheus.Histogram

	degraded        *prometheus.GaugeVec
	degradedSeconds *prometheus.CounterVec

	keepAliveStreams prometheus.Gauge
	keepAlives       prometheus.Counter
	refused          *prometheus.CounterVec
	tlsRefused       prometheus.Counter

	homeMetrics
	readMetrics
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "geogate", Subsystem: "gateway", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts(opts(name, help)) }
	gauge := func(name, help string) prometheus.GaugeOpts { return prometheus.GaugeOpts(opts(name, help)) }
	buckets := prometheus.ExponentialBuckets(0.0001, 2, 18) // 0.1 ms to 13 s
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "geogate", Subsystem: "gateway", Name: name, Help: help, Buckets: buckets}
	}
	seconds := prometheus.NewHistogramVec(histogram("request_seconds",
		"Time from a request's arrival to its answer, by method and policy. Forwarded requests count at both nodes."), []string{"method", "policy"})
	wait := prometheus.NewHistogramVec(histogram("policy_wait_seconds",
		"Time from the local commit until the policy was met or given up."), []string{"policy"})
	m := &metrics{
		requests: prometheus.NewCounterVec(counter("requests_total",
			"Requests answered, by method, policy and gRPC code."), []string{"method", "policy", "code"}),
		failures: prometheus.NewCounterVec(counter("policy_failures_total",
			"Writes whose policy was not met: unreachable (refused, nothing written), timeout and canceled (written here)."),
			[]string{"policy", "reason"}),
		forwarded: prometheus.NewCounter(counter("forwarded_total", "Requests that were handed to the leader's gateway.")),
		fenceRefused: prometheus.NewCounter(counter("clock_refused_total",
			"Writes that were refused because this node's clock was ahead of its peers'; nothing was written.")),
		afterWait: prometheus.NewHistogram(histogram("after_wait_seconds",
			"Time for which requests with geogate-after waited until this node had applied the tokens; those that did not have to wait do not count.")),
		afterFailed: prometheus.NewCounter(counter("after_failures_total",
			"Requests with geogate-after that were refused because this node did not apply the tokens in time.")),
		rpoUsed: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("rpo_used_ratio",
			"Part of the keyspace's RPO budget (max_lag) that the peers' lag uses up, at the leader. +Inf when the lag is unknown.")), []string{"keyspace"}),
		rpoDelayed: prometheus.NewCounter(counter("rpo_delayed_total", "ASYNC writes that were slowed because the RPO budget was nearly used up.")),
		rpoRefused: prometheus.NewCounter(counter("rpo_refused_total", "Writes that were refused because the RPO budget was used up; nothing was written.")),
		rpoDelay: prometheus.NewHistogram(histogram("rpo_delay_seconds",
			"Time for which the RPO budget held a write back, whether it was written then or refused.")),
		degraded: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("policy_degraded",
			"1 from the first write of the keyspace that was taken under a weaker policy until the peers are back, at the leader.")), []string{"keyspace"}),
		degradedSeconds: prometheus.NewCounterVec(counter("policy_degraded_seconds_total",
			"Time for which policy_degraded was 1."), []string{"keyspace"}),
		refused: prometheus.NewCounterVec(counter("auth_refused_total",
			"Requests refused while authentication was enabled, by reason: denied, token (not valid), user (none given), other."), []string{"reason"}),
		tlsRefused: prometheus.NewCounter(counter("tls_refused_total",
			"Connections to the client port whose TLS handshake failed; the log says why.")),
		keepAliveStreams: prometheus.NewGauge(gauge("keepalive_streams", "Open streams of lease keepalives.")),
		keepAlives:       prometheus.NewCounter(counter("keepalives_total", "Lease keepalives of clients that were answered.")),
		homeMetrics:      newHomeMetrics(),
		readMetrics:      newReadMetrics(),
	}
	for i := range methods {
		for p := range policies + 1 {
			m.succeeded[i][p] = m.requests.WithLabelValues(methodNames[i], policyLabel(p), codes.OK.String())
			m.seconds[i][p] = seconds.WithLabelValues(methodNames[i], policyLabel(p))
		}
	}
	for p := range policies {
		m.policyWait[p] = wait.WithLabelValues(policyLabel(p))
		for _, reason := range []string{failUnreachable, failTimeout, failCanceled} {
			m.failures.WithLabelValues(policyLabel(p), reason)
		}
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range append(append(m.homeMetrics.collectors(), m.readMetrics.collectors()...),
		m.requests, seconds, m.failures, wait, m.forwarded, m.fenceRefused, m.afterWait, m.afterFailed,
		m.rpoUsed, m.rpoDelayed, m.rpoRefused, m.rpoDelay, m.degraded, m.degradedSeconds, m.refused, m.tlsRefused, m.keepAliveStreams, m.keepAlives,
	) {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func policyLabel(p int) string {
	if p == noPolicy {
		return "none"
	}
	return policy.Policy(p).String()
}

// observe counts an answer; err is the gRPC status that goes out.
func (m *metrics) observe(what method, p int, start time.Time, err error) {
	if err == nil {
		m.succeeded[what][p].Inc()
	} else {
		m.requests.WithLabelValues(methodNames[what], policyLabel(p), status.Code(err).String()).Inc()
	}
	m.seconds[what][p].Observe(time.Since(start).Seconds())
}

// showBudget shows how much of a keyspace's RPO budget is used; where this node does not lead, nothing.
func (m *metrics) showBudget(prefix string, r rule, st *standing) {
	switch {
	case !r.lag.bounded():
	case !st.leading:
		m.rpoUsed.DeleteLabelValues(prefix)
	default:
		m.rpoUsed.WithLabelValues(prefix).Set(r.lag.used(st.peers, r.policy, pending{}).ratio)
	}
}

func (m *metrics) denied(err error) {
	reason := "other"
	switch {
	case errors.Is(err, auth.ErrPermissionDenied):
		reason = "denied"
	case errors.Is(err, auth.ErrInvalidToken):
		reason = "token"
	case errors.Is(err, auth.ErrUserEmpty):
		reason = "user"
	}
	m.refused.WithLabelValues(reason).Inc()
}

func (m *metrics) policyFailed(p policy.Policy, reason string) {
	m.failures.WithLabelValues(p.String(), reason).Inc()
}
