package test

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestGrowAndShrink takes a datacenter from one node to five and back to one, which is not the first one, with
// etcdctl. What may not happen: a write fails, in the sense that clientv3 hands an error to the application; an
// acknowledged write is missing; or the other datacenter, whose file does not list the new nodes, loses the way.
func TestGrowAndShrink(t *testing.T) {
	t.Parallel()
	const dc = "us-east"
	var later []configs.Node
	c := cluster.Prepare(t, cluster.Options{DCs: []string{dc, "eu-west"}, Nodes: 1, Edit: func(tp *configs.Topology) {
		tp.Policy.Default = "ASYNC"
		tp.Links = nil // peers go where the nodes say they are
	}})
	c.Node(dc, "n0").Start()
	c.Node("eu-west", "n0").Start()
	c.WaitHealthy(30 * time.Second)
	for i := 1; i < 5; i++ {
		later = append(later, c.NewNode(dc, fmt.Sprintf("n%d", i)))
	}
	ctl := &memberctl{t: t, bin: etcdctl(t), endpoints: c.Node(dc, "n0").Spec.Client}
	load := startLoad(t, ctl.endpoints)

	for i, n := range later { // the last one goes in as a voter at once
		add := []string{"member", "add", n.Name, "--peer-urls=http://" + n.Raft}
		if i < 3 {
			add = append(add, "--learner")
		}
		ctl.must(" to cluster ", add...)
		c.AddNode(dc, n, true).Start()
		id := ctl.id(n.Name)
		if i < 3 {
			ctl.must("promoted in cluster", "member", "promote", id)
		}
		ctl.endpoints += "," + n.Client
		load.sync()
	}
	if list := ctl.run("member", "list"); strings.Count(list, "started") != 5 || strings.Contains(list, "true") {
		t.Fatalf("member list:\n%s", list)
	}
	ctl.must("Leadership transferred", "move-leader", ctl.id("n3"))
	load.atLeast(50)

	for _, name := range []string{"n3", "n0", "n2", "n1"} { // the leader first
		ctl.endpoints = c.Node(dc, "n4").Spec.Client // that of a node which stays
		ctl.must("removed from cluster", "member", "remove", ctl.id(name))
		log, err := c.Node(dc, name).WaitExit(20 * time.Second)
		if err == nil || !strings.Contains(log, "was removed from the group") || !strings.Contains(log, "empty the node's directory") {
			t.Fatalf("%s ended with %v:\n%s", name, err, log)
		}
		load.sync()
	}
	load.atLeast(50)
	acked := load.stop()
	c.DropNodes(dc, "n0", "n1", "n2", "n3")
	c.WaitEqual(20 * time.Second)
	for _, where := range []string{dc, "eu-west"} {
		resp, err := c.Client(where).Get(t.Context(), "w/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, kv := range resp.Kvs {
			has[string(kv.Key)] = true
		}
		for _, key := range acked {
			if !has[key] {
				t.Fatalf("%s misses the acknowledged write %s", where, key)
			}
		}
	}
	t.Logf("%d writes", len(acked))
}

// memberctl runs etcdctl until the group is ready for what is asked.
type memberctl struct {
	t         *testing.T
	bin       string
	endpoints string
}

func (m *memberctl) run(args ...string) string {
	ctx, cancel := context.WithTimeout(m.t.Context(), 15*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, m.bin, append([]string{"--endpoints=" + m.endpoints, "--command-timeout=10s"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s(%v)", out, err)
	}
	return string(out)
}

// must repeats a command while etcd would ask for that too.
func (m *memberctl) must(want string, args ...string) {
	m.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		out := m.run(args...)
		if strings.Contains(out, want) {
			return
		}
		passing := slices.ContainsFunc([]string{"in sync with leader", "unhealthy cluster", "not enough started"}, func(s string) bool { return strings.Contains(out, s) })
		if !passing || time.Now().After(deadline) {
			m.t.Fatalf("etcdctl %s: %s", strings.Join(args, " "), out)
		}
	}
}

// id waits until a member has told its name.
func (m *memberctl) id(name string) string {
	m.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		list := m.run("member", "list")
		for line := range strings.Lines(list) {
			if f := strings.Split(strings.TrimSpace(line), ", "); len(f) > 3 && f[2] == name {
				return f[0]
			}
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s is not in the member list:\n%s", name, list)
		}
	}
}

// memberLoad writes through one clientv3 client without any retry of its own.
type memberLoad struct {
	t      *testing.T
	client *clientv3.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup
	count  atomic.Int64

	mu    sync.Mutex
	acked []string
}

func startLoad(t *testing.T, endpoint string) *memberLoad {
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &memberLoad{t: t, client: cli, cancel: cancel}
	t.Cleanup(func() {
		l.cancel()
		l.wg.Wait()
		_ = cli.Close()
	})
	for w := range 4 {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("w/%d/%06d", w, i)
				_, err := cli.Put(ctx, key, "v")
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					t.Errorf("write %s failed: %v", key, err)
					continue
				}
				l.mu.Lock()
				l.acked = append(l.acked, key)
				l.mu.Unlock()
				l.count.Add(1)
			}
		})
	}
	return l
}

// sync makes the client follow the members, as clientv3's AutoSyncInterval does.
func (l *memberLoad) sync() {
	l.t.Helper()
	if err := l.client.Sync(l.t.Context()); err != nil {
		l.t.Errorf("Sync: %v", err)
	}
}

// atLeast waits for so many more writes.
func (l *memberLoad) atLeast(n int64) {
	l.t.Helper()
	before := l.count.Load()
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); l.count.Load() < before+n; <-tick.C {
		if time.Now().After(deadline) {
			l.t.Fatalf("%d writes in 20 s, want %d", l.count.Load()-before, n)
		}
	}
}

func (l *memberLoad) stop() []string {
	l.cancel()
	l.wg.Wait()
	return l.acked
}
