package kubernetes

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
)

// TestFactory makes a storage as an API server does from its flags, with its own compactor, and asks its health,
// readiness, probe and metrics.
func TestFactory(t *testing.T) {
	ctx := t.Context()
	cfg := storagebackend.NewDefaultConfig("/registry-"+t.Name(), codec(t))
	cfg.Transport.ServerList = nil
	for _, e := range endpoints(t) {
		cfg.Transport.ServerList = append(cfg.Transport.ServerList, "http://"+e)
	}
	cfg.CompactionInterval = 300 * time.Millisecond
	cfg.HealthcheckTimeout = 10 * time.Second
	cfg.ReadycheckTimeout = 10 * time.Second
	s, destroy, err := factory.Create(*cfg.ForResource(schema.GroupResource{Resource: "pods"}), newPod, newPodList, "/pods")
	if err != nil {
		t.Fatal(err)
	}
	defer destroy()
	first := create(ctx, t, s, "a", 0)
	rev, err := s.Versioner().ParseResourceVersion(first.ResourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the compactor", func() bool {
		if _, err := add(ctx, s, "a", nil); err != nil {
			t.Fatal(err)
		}
		return s.CompactRevision() > int64(rev)
	})
	if l, err := list(ctx, s, "", 0); err != nil || len(l.Items) != 1 {
		t.Errorf("list: %v, %v", l, err)
	}
	got := &example.Pod{}
	if err := s.Get(ctx, podKey("a"), storage.GetOptions{ResourceVersion: first.ResourceVersion}, got); err != nil {
		t.Error(err)
	}
	if stats, err := s.Stats(ctx); err != nil || stats.ObjectCount != 1 {
		t.Errorf("stats: %+v, %v", stats, err)
	}

	stop := make(chan struct{})
	defer close(stop)
	healthy, err := factory.CreateHealthCheck(*cfg, stop)
	if err != nil {
		t.Fatal(err)
	}
	ready, err := factory.CreateReadyCheck(*cfg, stop)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the checks of health and readiness", func() bool { return healthy() == nil && ready() == nil })
	prober, err := factory.CreateProber(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer prober.Close()
	if err := prober.Probe(ctx); err != nil {
		t.Errorf("probe: %v", err)
	}
	monitor, err := factory.CreateMonitor(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	if m, err := monitor.Monitor(ctx); err != nil || m.Size == 0 {
		t.Errorf("monitor: %+v, %v", m, err)
	}
}
