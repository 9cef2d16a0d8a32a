package watch

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	streams prometheus.Gauge
	watches prometheus.Gauge
	events  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "geogate", Subsystem: "gateway", Name: name, Help: help}
	}
	m := &metrics{
		streams: prometheus.NewGauge(prometheus.GaugeOpts(opts("watch_streams", "Open watch streams."))),
		watches: prometheus.NewGauge(prometheus.GaugeOpts(opts("watches", "Open watches."))),
		events:  prometheus.NewCounter(prometheus.CounterOpts(opts("watch_events_total", "Events sent to watches."))),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.streams, m.watches, m.events} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
