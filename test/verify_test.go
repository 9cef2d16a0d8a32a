package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/cmd/verify"
	"geogate/configs"
	"geogate/dc/store/storetest"
	"geogate/test/cluster"
)

// runVerify runs the command against one node of each datacenter.
func runVerify(t *testing.T, c *cluster.Cluster, args ...string) (*verify.Result, int) {
	t.Helper()
	for _, dc := range allDCs {
		args = append(args, "--endpoint", c.Node(dc, "n0").Spec.Admin)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cluster.Binary(t), append([]string{"verify", "-o", "json"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var r verify.Result
	if jerr := json.Unmarshal(stdout.Bytes(), &r); jerr != nil {
		t.Fatalf("verify %v: %v, %v\n%s\n%s", args, err, jerr, stdout.String(), stderr.String())
	}
	t.Logf("verify %v: exit code %d, %s %+v %v\n%s", args, cmd.ProcessState.ExitCode(), r.State, r.Differences, r.Repairs, stderr.String())
	return &r, cmd.ProcessState.ExitCode()
}

// churn writes and deletes the same few keys in every datacenter until stop is closed.
func churn(t *testing.T, c *cluster.Cluster, stop <-chan struct{}) *sync.WaitGroup {
	t.Helper()
	var wg sync.WaitGroup
	for i, dc := range slices.Repeat(allDCs, 2) {
		client, rng := c.Client(dc), rand.New(rand.NewPCG(uint64(i), 5))
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("churn/%03d", rng.IntN(300))
				var err error
				if rng.IntN(4) == 0 {
					_, err = client.Delete(t.Context(), key)
				} else {
					_, err = put(t.Context(), client, key, fmt.Sprint(n), "ASYNC", 5*time.Second)
				}
				if err != nil && t.Context().Err() == nil {
					select {
					case <-stop:
					case <-time.After(10 * time.Millisecond): // its datacenter is down for a moment
					}
				}
			}
		})
	}
	return &wg
}

// rounds waits until every pair has been compared so often again, and fails on any alarm.
func rounds(t *testing.T, c *cluster.Cluster, n uint64) {
	t.Helper()
	first := map[string]uint64{}
	c.Eventually(60*time.Second, "comparisons", func() string {
		for _, dc := range allDCs {
			s, err := c.Node(dc, "n0").Status(t.Context())
			if err != nil {
				return err.Error()
			}
			for _, p := range s.Peers {
				if p.Verify.Different > 0 || p.Verify.DifferentKeys > 0 {
					t.Fatalf("false alarm: %s finds %s different: %+v", dc, p.DC, p.Verify)
				}
				if _, known := first[dc+p.DC]; !known {
					first[dc+p.DC] = p.Verify.Rounds
				}
				if done := p.Verify.Rounds - first[dc+p.DC]; done < n {
					return fmt.Sprintf("%s with %s: %d of %d", dc, p.DC, done, n)
				}
			}
		}
		return ""
	})
}

// TestVerify compares three datacenters under load that races for the same keys: nothing may be found. Then one
// key is made different on the disk of one of them: that key, and nothing else, must be found, and mended.
func TestVerify(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs, Edit: func(topology *configs.Topology) {
		topology.Verification.Interval = 100 * time.Millisecond
		topology.Keyspaces = append(topology.Keyspaces, configs.Keyspace{Prefix: "vic"})
	}})
	for _, key := range []string{"victim", "lost"} {
		if _, err := put(t.Context(), c.Client("us-east"), key, "right", "ALL", 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	wg := churn(t, c, stop)
	rounds(t, c, 20)
	if r, code := runVerify(t, c, "--timeout", "40s"); code != 0 || r.State != "equal" {
		t.Errorf("under load: %+v", r)
	}

	south := c.Node("ap-south", "n0")
	if err := south.Stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(south.Spec.Dir, "store", "db")
	storetest.Plant(t, path, []byte("victim"), []byte("wrong"))
	storetest.Plant(t, path, []byte("lost"), nil)
	south.Start()
	c.WaitHealthy(30 * time.Second)
	r, code := runVerify(t, c, "--timeout", "40s")
	var keys []string
	for _, d := range r.Differences {
		keys = append(keys, d.Text)
		right, wrong := d.Copies["us-east"], d.Copies["ap-south"]
		if west := d.Copies["eu-west"]; !west.Same(&right) || wrong.Same(&right) || right.Origin != "us-east" || right.Revision == 0 {
			t.Errorf("copies of %s: %+v", d.Text, d.Copies)
		}
	}
	if code != 1 || r.State != "different" || !slices.Equal(keys, []string{"lost", "victim"}) {
		t.Errorf("exit code %d, %s, keys %q; want 1, different, lost and victim", code, r.State, keys)
	}
	c.Eventually(20*time.Second, "status with the keyspaces of what differs", func() string {
		s, err := c.Node("us-east", "n0").Status(t.Context())
		if err != nil {
			return err.Error()
		}
		for _, p := range s.Peers {
			if p.DC == "ap-south" && !maps.Equal(p.Verify.DifferentKeyspaces, map[string]int{"": 1, "vic": 1}) {
				return fmt.Sprintf("found %v", p.Verify.DifferentKeyspaces)
			}
		}
		return ""
	})
	r, code = runVerify(t, c, "--timeout", "40s", "--repair")
	if code != 0 || r.State != "equal" || len(r.Repairs) != 2 || r.Repairs[0].DC != "ap-south" {
		t.Errorf("repair: exit code %d, %+v", code, r)
	}
	close(stop)
	wg.Wait()
	for _, key := range []string{"victim", "lost"} {
		got, err := c.Client("ap-south").Get(t.Context(), key, clientv3.WithSerializable())
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "right" {
			t.Errorf("%s after the repair: %v, %v", key, got, err)
		}
	}
	c.WaitEqual(30 * time.Second)
	rounds(t, c, 2)
}
