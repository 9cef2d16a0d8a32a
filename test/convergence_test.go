package test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"geogate/test/cluster"
)

// TestConcurrentWritersConverge writes the same hundred keys in three datacenters at once.
func TestConcurrentWritersConverge(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	const keys, writers, length = 100, 4, 3 * time.Second
	var wg sync.WaitGroup
	var written atomic.Int64
	stop := time.Now().Add(length)
	for _, dc := range allDCs {
		client := c.Client(dc)
		for w := range writers {
			seed := rand.Uint64()
			t.Logf("writer %d of %s has seed %d", w, dc, seed)
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, 0))
				for i := 0; time.Now().Before(stop); i++ {
					key := fmt.Sprintf("contended/%03d", rnd.IntN(keys))
					var err error
					if rnd.IntN(10) == 0 {
						_, err = client.Delete(t.Context(), key)
					} else {
						_, err = put(t.Context(), client, key, fmt.Sprintf("%s-%d-%d", dc, w, i), "ASYNC", 0)
					}
					if err != nil {
						t.Errorf("%s: %v", dc, err)
						return
					}
					written.Add(1)
				}
			})
		}
	}
	wg.Wait()
	vector := c.WaitEqual(30 * time.Second)
	t.Logf("%d writes, equal at %v", written.Load(), vector)
	want := map[string]string{}
	for i, dc := range allDCs {
		resp, err := c.Client(dc).Get(t.Context(), "contended/", withPrefix)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, kv := range resp.Kvs {
			got[string(kv.Key)] = string(kv.Value)
		}
		if i == 0 {
			want = got
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("equal vectors, unequal data:\n%s %v\n%s %v", allDCs[0], want, dc, got)
		}
		if total, kept := conflicts(t, c.Leader(dc)); total == 0 || kept == 0 {
			t.Errorf("%s counted %d conflicts and kept %d", dc, total, kept)
		}
	}
}

// conflicts reads the conflict log of a node.
func conflicts(t *testing.T, p *cluster.Process) (total uint64, kept int) {
	t.Helper()
	resp, err := http.Get("http://" + p.Spec.Admin + "/v1/conflicts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		Total     uint64            `json:"total"`
		Conflicts []json.RawMessage `json:"conflicts"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Total, len(body.Conflicts)
}
