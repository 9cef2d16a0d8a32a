package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/configs"
	"geogate/test/cluster"
)

var withPrefix = clientv3.WithPrefix()

// ledger is what was acknowledged, and under which policy.
type ledger struct {
	mu    sync.Mutex
	acked map[string]string // key -> policy; each key is written once
	tries int
}

// load writes distinct keys until stop is closed, and notes what was acknowledged.
func (l *ledger) load(ctx context.Context, wg *sync.WaitGroup, client *clientv3.Client, name string, stop <-chan struct{}) {
	policies := []string{"ASYNC", "QUORUM", "ALL"}
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key, policy := fmt.Sprintf("%s/%06d", name, i), policies[i%len(policies)]
			_, err := put(ctx, client, key, key, policy, 3*time.Second)
			l.mu.Lock()
			l.tries++
			if err == nil {
				l.acked[key] = policy
			}
			l.mu.Unlock()
		}
	})
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// check reads every datacenter and fails for each acknowledged write that is missing.
func (l *ledger) check(t *testing.T, c *cluster.Cluster, prefix string) {
	t.Helper()
	for _, d := range c.Topology.Datacenters {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		resp, err := c.Client(d.Name).Get(ctx, prefix, withPrefix)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, kv := range resp.Kvs {
			have[string(kv.Key)] = string(kv.Value) == string(kv.Key)
		}
		missing := 0
		for key, policy := range l.acked {
			if !have[key] {
				if missing++; missing <= 5 {
					t.Errorf("%s: acknowledged under %s and missing in %s", key, policy, d.Name)
				}
			}
		}
		if missing > 5 {
			t.Errorf("%d acknowledged writes are missing in %s", missing, d.Name)
		}
	}
	t.Logf("%d of %d writes were acknowledged, all are in every datacenter", len(l.acked), l.tries)
}

// TestKillNodesUnderLoad kills nodes of a datacenter of three with SIGKILL, the leader included, while it
// takes writes.
func TestKillNodesUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Nodes: 3, DCs: allDCs[:2], Edit: smallRaftTimes})
	l := &ledger{acked: map[string]string{}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 6 {
		l.load(t.Context(), &wg, c.Client("us-east"), fmt.Sprintf("kill/%d", i), stop)
	}
	for round := range 4 {
		before := l.count()
		victim := c.Leader("us-east")
		if round%2 == 1 {
			nodes := c.Nodes("us-east")
			victim = nodes[rand.IntN(len(nodes))]
		}
		victim.Kill()
		c.Eventually(20*time.Second, "writes to go on without "+victim.Spec.Name, func() string {
			if l.count() < before+30 {
				return fmt.Sprintf("%d writes acknowledged, %d before the kill", l.count(), before)
			}
			return ""
		})
		victim.Start()
		c.Leader("us-east")
	}
	close(stop)
	wg.Wait()
	c.WaitEqual(30 * time.Second)
	l.check(t, c, "kill/")
}

// TestKillWholeDatacenter kills a datacenter's only node again and again while it takes writes.
func TestKillWholeDatacenter(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2]})
	l := &ledger{acked: map[string]string{}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		l.load(t.Context(), &wg, c.Client("us-east"), fmt.Sprintf("power/%d", i), stop)
	}
	for range 4 {
		before := l.count()
		c.Eventually(20*time.Second, "some writes", func() string {
			if l.count() < before+50 {
				return fmt.Sprint(l.count())
			}
			return ""
		})
		p := c.Node("us-east", "n0")
		p.Kill()
		p.Start()
	}
	close(stop)
	wg.Wait()
	c.WaitEqual(30 * time.Second)
	l.check(t, c, "power/")
}

// TestJetStreamWipedUnderLoad deletes the files of the leader's JetStream while it ships.
func TestJetStreamWipedUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2]})
	l := &ledger{acked: map[string]string{}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		l.load(t.Context(), &wg, c.Client("us-east"), fmt.Sprintf("wipe/%d", i), stop)
	}
	leader := c.Leader("us-east")
	store := filepath.Join(leader.Spec.Dir, "nats")
	c.Eventually(10*time.Second, "a JetStream to wipe", func() string {
		if _, err := os.Stat(filepath.Join(store, "jetstream")); err != nil {
			return err.Error()
		}
		return ""
	})
	for round := range 3 {
		before := l.count()
		if round == 1 {
			leader.Kill() // wiped while it is down, too
		}
		if err := os.RemoveAll(store); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			leader.Start()
		}
		c.Eventually(30*time.Second, "writes under all policies to go on", func() string {
			if l.count() < before+100 {
				return fmt.Sprintf("%d acknowledged, %d before the wipe", l.count(), before)
			}
			return ""
		})
	}
	close(stop)
	wg.Wait()
	c.WaitEqual(30 * time.Second)
	l.check(t, c, "wipe/")
}

func smallRaftTimes(topology *configs.Topology) {
	topology.Timing.RaftTick = 50 * time.Millisecond
}
