package drill

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// gauges are what a folder of reports says to Prometheus, for the newest drill of each scenario in each cluster.
type gauges struct {
	run, success, passed, rto, detect, pause, lost *prometheus.GaugeVec
}

func newGauges(r *prometheus.Registry) *gauges {
	vec := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "geogate_drill_" + name, Help: help}, []string{"cluster", "scenario"})
		r.MustRegister(g)
		return g
	}
	return &gauges{
		run:     vec("last_run_timestamp_seconds", "When the newest drill has ended."),
		success: vec("last_success_timestamp_seconds", "When the newest drill that passed has ended; absent when none is known."),
		passed:  vec("last_passed", "1 when the newest drill passed, else 0."),
		rto:     vec("last_rto_seconds", "Recovery time of the newest drill; absent when no write failed."),
		detect:  vec("last_detect_seconds", "How long the newest drill's fault went unnoticed; absent when there was none, or it never was noticed."),
		pause:   vec("last_write_pause_seconds", "Longest time without an acknowledged write at an endpoint in the newest drill."),
		lost:    vec("last_acknowledged_lost", "Acknowledged writes that the newest drill has lost; absent when not every datacenter could be asked."),
	}
}

// WriteMetrics writes what the folder says as a file for the textfile collector of Prometheus' node_exporter, which
// reads it whole or not at all.
func (f Folder) WriteMetrics(path string) error {
	all, err := f.list()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	g := newGauges(registry)
	type of struct{ cluster, scenario string }
	newest, passed := map[of]bool{}, map[of]bool{}
	for _, b := range all {
		of := of{b.Cluster, b.Scenario}
		ended := float64(b.Ended.UnixMilli()) / 1000
		if b.Passed && !passed[of] {
			passed[of] = true
			g.success.WithLabelValues(of.cluster, of.scenario).Set(ended)
		}
		if newest[of] {
			continue
		}
		newest[of] = true
		g.run.WithLabelValues(of.cluster, of.scenario).Set(ended)
		g.pause.WithLabelValues(of.cluster, of.scenario).Set(b.WritePause)
		g.passed.WithLabelValues(of.cluster, of.scenario).Set(map[bool]float64{true: 1}[b.Passed])
		if b.RTO != nil {
			g.rto.WithLabelValues(of.cluster, of.scenario).Set(*b.RTO)
		}
		if b.Detect != nil {
			g.detect.WithLabelValues(of.cluster, of.scenario).Set(*b.Detect)
		}
		if b.AcknowledgedLost != nil {
			g.lost.WithLabelValues(of.cluster, of.scenario).Set(float64(*b.AcknowledgedLost))
		}
	}
	if err := prometheus.WriteToTextfile(path, registry); err != nil {
		return fmt.Errorf("write the metrics file: %w", err)
	}
	return nil
}
