package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector

	flushSeconds prometheus.Histogram
	flushBytes   prometheus.Counter
	flushRecords prometheus.Counter
	dropped      prometheus.Counter
	stalls       prometheus.Counter

	scrubs        prometheus.Counter
	scrubbedBytes prometheus.Counter
}

func newMetrics(s *Store, r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		registerer: r,
		flushSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "geogate_store_flush_seconds", Help: "Time of one flush to the database, its fsync included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		flushBytes: counter("geogate_store_flushed_bytes_total", "Bytes that flushes took over from memory."),
		flushRecords: counter("geogate_store_flushed_versions_total",
			"Versions that flushes wrote."),
		dropped:       counter("geogate_store_compacted_versions_total", "Versions that compaction deleted."),
		stalls:        counter("geogate_store_stalls_total", "Times that a batch waited because too much was pending for the disk."),
		scrubs:        counter("geogate_store_scrubs_total", "Times that the whole database was read for damage and none was found."),
		scrubbedBytes: counter("geogate_store_scrubbed_bytes_total", "Bytes of keys and values read for damage."),
	}
	m.collectors = []prometheus.Collector{
		m.flushSeconds, m.flushBytes, m.flushRecords, m.dropped, m.stalls, m.scrubs, m.scrubbedBytes,
		gauge("geogate_store_broken", "1 once the store takes no more writes because of damage or a failed flush.", func() float64 {
			if s.Problem() != nil {
				return 1
			}
			return 0
		}),
		gauge("geogate_store_revision", "Current revision.", func() float64 { return float64(s.Revision()) }),
		gauge("geogate_store_compacted_revision", "Compacted revision.", func() float64 { return float64(s.Compacted()) }),
		gauge("geogate_store_keys", "Live keys.", func() float64 { return float64(s.Keys()) }),
		gauge("geogate_store_graves", "Deleted keys whose stamp is still kept.", func() float64 { return float64(s.status.Load().graves) }),
		gauge("geogate_store_requests", "Client requests remembered by their ids.", func() float64 { return float64(s.Requests()) }),
		gauge("geogate_store_system_entries", "Entries of the system table (users, roles, settings).", func() float64 {
			entries, _ := s.SystemEntries()
			return float64(entries)
		}),
		gauge("geogate_store_system_bytes", "Bytes of the names and values of the system table.", func() float64 {
			_, bytes := s.SystemEntries()
			return float64(bytes)
		}),
		gauge("geogate_store_db_bytes", "Size of the database file.", func() float64 { return float64(s.DBSize()) }),
		gauge("geogate_store_db_in_use_bytes", "Part of the database file that is in use.", func() float64 { return float64(s.InUse()) }),
		gauge("geogate_store_pending_bytes", "Bytes that wait for the disk.", func() float64 { return float64(s.pendingBytes()) }),
		gauge("geogate_store_unflushed_entries", "Log entries applied and not on the store's disk.", func() float64 {
			return float64(s.Applied().Index) - float64(s.Durable().Index)
		}),
		gauge("geogate_store_watchers", "Open watchers.", func() float64 {
			open, _, _ := s.hub.counts()
			return float64(open)
		}),
		gauge("geogate_store_watchers_behind", "Open watchers that read history.", func() float64 {
			open, synced, _ := s.hub.counts()
			return float64(open - synced)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "geogate_store_watcher_overflows_total", Help: "Times that a watcher's queue overflowed and it fell back to history.",
		}, func() float64 {
			_, _, slow := s.hub.counts()
			return float64(slow)
		}),
	}
	if r == nil {
		return m, nil
	}
	for i, c := range m.collectors {
		if err := r.Register(c); err != nil {
			m.collectors = m.collectors[:i]
			m.close()
			return nil, err
		}
	}
	return m, nil
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func gauge(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
}

// close lets another store use the registerer.
func (m *metrics) close() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}

func (m *metrics) flushed(f *flight, took time.Duration) {
	m.flushSeconds.Observe(took.Seconds())
	m.flushBytes.Add(float64(f.bytes))
	m.flushRecords.Add(float64(len(f.records)))
	m.dropped.Add(float64(len(f.deletes)))
}

func (s *Store) pendingBytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pendingBytesLocked()
}
