package test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"geogate/configs"
	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// TestKubernetes runs the storage layer of the Kubernetes API server (package test/kubernetes, a module of its own)
// against a datacenter of three nodes that has a peer, and kills its leader under it; and against a real etcd, which
// tells whose fault a failure is. It is not parallel: some of Kubernetes' tests wait a tenth of a second for events.
func TestKubernetes(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the storage layer of Kubernetes")
	}
	bin := filepath.Join(t.TempDir(), "kubernetes.test")
	// Without vet: it would look at all of Kubernetes' packages.
	build := exec.CommandContext(t.Context(), "go", "test", "-C", "kubernetes", "-c", "-vet=off", "-o", bin, ".")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build test/kubernetes: %v\n%s", err, out)
	}
	t.Run("etcd", func(t *testing.T) {
		etcd := etcdbin.New(t, 1, "--watch-progress-notify-interval=1s")
		runKubernetes(t, bin, etcd.Endpoints(), "")
	})
	t.Run("geogate", func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{DCs: allDCs[:2], Nodes: 3, Edit: func(top *configs.Topology) {
			top.Timing.WatchProgress = time.Second
			d, _ := top.Datacenter(allDCs[1])
			d.Nodes = d.Nodes[:1] // the peer
			for i, l := range top.Links {
				if l.To == d.Name {
					top.Links[i].Endpoints = l.Endpoints[:1]
				}
			}
		}})
		var endpoints []string
		for _, p := range c.Nodes(allDCs[0]) {
			endpoints = append(endpoints, p.Spec.Client)
		}
		fault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if err := killLeader(c, allDCs[0]); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}))
		defer fault.Close()
		runKubernetes(t, bin, endpoints, fault.URL)
		c.WaitEqual(30 * time.Second)
	})
}

// runKubernetes runs the tests on one cluster: first those that need a fresh one.
func runKubernetes(t *testing.T, bin string, endpoints []string, fault string) {
	t.Helper()
	for _, which := range []string{"-test.run=^TestFreshWatches$", "-test.skip=^TestFreshWatches$"} {
		cmd := exec.CommandContext(t.Context(), bin, "-test.v", "-test.timeout=5m", which)
		cmd.Env = append(os.Environ(), "GEOGATE_KUBERNETES_ENDPOINTS="+strings.Join(endpoints, ","), "GEOGATE_KUBERNETES_FAULT="+fault)
		began := time.Now()
		out, err := cmd.CombinedOutput()
		passed := bytes.Count(out, []byte("--- PASS: "))
		t.Logf("%s: %d passed in %s", which, passed, time.Since(began).Round(time.Second))
		if err != nil || passed == 0 || bytes.Contains(out, []byte("--- SKIP: ")) {
			t.Errorf("%s: %v\n%s", which, err, out)
		}
	}
}

// killLeader is kill -9 of the node that leads, and starts it again when another one leads.
func killLeader(c *cluster.Cluster, dc string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	leader := func(not string) *cluster.Process {
		for ctx.Err() == nil {
			for _, p := range c.Nodes(dc) {
				if s, err := p.Status(ctx); err == nil && s.Leader != "" && s.Leader != not {
					return c.Node(dc, s.Leader)
				}
			}
		}
		return nil
	}
	old := leader("")
	if old == nil {
		return fmt.Errorf("no leader in %s within 30 s", dc)
	}
	old.Kill()
	if leader(old.Spec.Name) == nil {
		return fmt.Errorf("no leader in %s within 30 s after %s was killed", dc, old.Spec.Name)
	}
	old.Start()
	return nil
}
