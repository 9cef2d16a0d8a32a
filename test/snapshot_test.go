package test

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/configs"
	"geogate/test/cluster"
)

// littleRetention keeps next to nothing for a peer that is away.
func littleRetention(topology *configs.Topology) {
	topology.Limits.MaxEntryBytes = 64 << 10
	topology.Limits.RetentionBytes = 256 << 10
}

// fill writes n keys of about 4 KiB and fails when one takes long: a peer that is away slows no local write.
func fill(t *testing.T, client *clientv3.Client, prefix string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				began := time.Now()
				if _, err := put(t.Context(), client, fmt.Sprintf("%s/%05d", prefix, i), big(i), "ASYNC", 10*time.Second); err != nil {
					t.Errorf("put %s/%05d: %v", prefix, i, err)
					return
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("put %s/%05d took %s", prefix, i, took)
				}
			}
		})
	}
	wg.Wait()
}

// big is a value of 4 KiB that does not compress to nothing.
func big(i int) string {
	b := make([]byte, 4096)
	x := uint32(i)*2654435761 + 1
	for j := range b {
		x = x*1664525 + 1013904223
		b[j] = byte('a' + x>>24%26)
	}
	return string(b)
}

func waitNeedsSnapshot(t *testing.T, c *cluster.Cluster, at, peer string) {
	t.Helper()
	c.Eventually(20*time.Second, at+" says that "+peer+" needs a snapshot", func() string {
		s, err := c.Leader(at).Status(t.Context())
		if err != nil {
			return err.Error()
		}
		for _, p := range s.Peers {
			if p.DC == peer && p.NeedsSnapshot != "" {
				return ""
			}
		}
		return fmt.Sprintf("%+v", s.Peers)
	})
}

// TestAwayPastRetention keeps a datacenter away under load for longer than its peers keep frames for it.
// What was deleted meanwhile stays deleted, and what the datacenter wrote meanwhile arrives.
func TestAwayPastRetention(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs, Edit: littleRetention})
	east, west, south := c.Client("us-east"), c.Client("eu-west"), c.Client("ap-south")
	fill(t, east, "gone", 100)
	fill(t, east, "kept", 100)
	c.WaitEqual(30 * time.Second)

	c.Isolate("ap-south")
	if _, err := east.Delete(t.Context(), "gone/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	fill(t, east, "east", 400)
	fill(t, west, "west", 400)
	fill(t, south, "south", 400) // its own tail goes past retention too
	waitNeedsSnapshot(t, c, "us-east", "ap-south")

	stop := make(chan struct{})
	l := &ledger{acked: map[string]string{}}
	var wg sync.WaitGroup
	for name, client := range map[string]*clientv3.Client{"e": east, "s": south} {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("live/%s/%05d", name, i)
				if _, err := put(t.Context(), client, key, key, "ASYNC", 5*time.Second); err != nil {
					t.Errorf("a local write while a snapshot is merged: %v", err)
					return
				}
				l.mu.Lock()
				l.tries++
				l.acked[key] = "ASYNC"
				l.mu.Unlock()
			}
		})
	}
	c.Rejoin("ap-south")
	c.Eventually(60*time.Second, "the datacenters to have each other's data", func() string {
		for _, q := range []struct {
			client *clientv3.Client
			prefix string
		}{{south, "east/"}, {south, "west/"}, {east, "south/"}, {west, "south/"}} {
			r, err := q.client.Get(t.Context(), q.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
			if err != nil {
				return err.Error()
			}
			if r.Count != 400 {
				return fmt.Sprintf("%d keys of %s", r.Count, q.prefix)
			}
		}
		return ""
	})
	close(stop)
	wg.Wait()
	c.WaitEqual(60 * time.Second)
	l.check(t, c, "live/")
	for _, client := range []*clientv3.Client{east, west, south} {
		r, err := client.Get(t.Context(), "gone/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || r.Count != 0 {
			t.Errorf("%v deleted keys came back (%v)", r, err)
		}
	}
	c.WaitHealthy(30 * time.Second)
}

// TestDatacenterLosesItsDisk starts a datacenter with nothing of what it had. It takes back what the others
// have, its own data included, and the others take what it writes from then on.
func TestDatacenterLosesItsDisk(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs})
	for _, dc := range allDCs {
		fill(t, c.Client(dc), dc, 200)
	}
	before := c.WaitEqual(30 * time.Second)
	// The end of its first life reaches one of the others only.
	c.Cut("us-east", "ap-south")
	fill(t, c.Client("ap-south"), "tail", 50)
	c.Eventually(20*time.Second, "eu-west to have the tail", func() string { return lacks(t, c, "eu-west", "tail/", 50) })
	lost := c.Node("ap-south", "n0")
	lost.Kill()
	if err := os.RemoveAll(lost.Spec.Dir); err != nil {
		t.Fatal(err)
	}
	east := c.Client("us-east")
	if _, err := east.Delete(t.Context(), "ap-south/00007"); err != nil {
		t.Fatal(err)
	}
	lost.Start()
	c.Heal("us-east", "ap-south")
	south := c.Client("ap-south")
	c.Eventually(60*time.Second, "the datacenter to have all data again", func() string {
		r, err := south.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err.Error()
		}
		if r.Count != 649 {
			return fmt.Sprintf("%d keys", r.Count)
		}
		return ""
	})
	if _, err := put(t.Context(), south, "second life", "x", "ALL", 30*time.Second); err != nil {
		t.Fatal(err)
	}
	after := c.WaitEqual(60 * time.Second)
	for _, dc := range allDCs {
		if problem := lacks(t, c, dc, "tail/", 50); problem != "" {
			t.Error(problem)
		}
	}
	t.Logf("held before %v, after %v", before, after)
	c.WaitHealthy(30 * time.Second)
}

// TestRelay cuts one datacenter off from an origin that then dies. The tail that reached only the third one
// gets there from that one, as frames; and when the origin comes back, it goes on from there.
func TestRelay(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs})
	east := c.Client("us-east")
	fill(t, east, "both", 50)
	c.WaitEqual(30 * time.Second)
	c.Cut("us-east", "ap-south")
	fill(t, east, "tail", 300)
	c.Eventually(20*time.Second, "eu-west to have the tail", func() string { return lacks(t, c, "eu-west", "tail/", 300) })
	if problem := lacks(t, c, "ap-south", "tail/", 1); problem == "" {
		t.Fatal("ap-south has some of the tail already")
	}
	c.Node("us-east", "n0").Kill()
	c.Eventually(30*time.Second, "ap-south to have the tail", func() string { return lacks(t, c, "ap-south", "tail/", 300) })
	west, err := c.Leader("eu-west").Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	south, err := c.Leader("ap-south").Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(west.Vector) != fmt.Sprint(south.Vector) || west.Digest != south.Digest {
		t.Errorf("eu-west holds %v (%s), ap-south %v (%s)", west.Vector, west.Digest, south.Vector, south.Digest)
	}
	c.Node("us-east", "n0").Start()
	c.Heal("us-east", "ap-south")
	c.WaitHealthy(30 * time.Second)
	fill(t, c.Client("us-east"), "again", 20)
	c.WaitEqual(30 * time.Second)
}

// lacks says what is missing to n keys of a prefix in a datacenter.
func lacks(t *testing.T, c *cluster.Cluster, dc, prefix string, n int64) string {
	t.Helper()
	r, err := c.Client(dc).Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err.Error()
	}
	if r.Count < n {
		return fmt.Sprintf("%d of %d keys of %s in %s", r.Count, n, prefix, dc)
	}
	return ""
}
