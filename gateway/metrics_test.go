package gateway

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func counted(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	if out.Gauge != nil {
		return out.Gauge.GetValue()
	}
	return out.Counter.GetValue()
}

// gathered is a metric without labels of a node.
func gathered(t testing.TB, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			if m := f.Metric[0]; m.Gauge != nil {
				return m.Gauge.GetValue()
			}
			return f.Metric[0].Counter.GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestMetrics(t *testing.T) {
	s := newSite(t, 1, nil)
	if _, err := putFor(testContext(t), s.kv(0), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := putFor(testContext(t), s.kv(0), ""); err == nil {
		t.Fatal("no error")
	}
	families, err := s.nodes[0].registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "geogate_gateway_requests_total" {
			continue
		}
		for _, m := range f.Metric {
			key := ""
			for _, l := range m.Label {
				key += l.GetValue() + " "
			}
			got[key] = m.Counter.GetValue()
		}
	}
	if got["OK put ASYNC "] != 1 || got["InvalidArgument put none "] != 1 {
		t.Errorf("got %v", got)
	}
}
