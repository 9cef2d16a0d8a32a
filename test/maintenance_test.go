package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestQuotaAndDefragment fills a datacenter past its quota and frees it as an operator would, with stock
// etcdctl: compact, defragment, disarm.
func TestQuotaAndDefragment(t *testing.T) {
	t.Parallel()
	const quota = 2 << 20
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:1], Nodes: 3, Edit: func(t *configs.Topology) {
		t.Storage.QuotaBytes = quota
	}})
	east := c.Client("us-east")
	var all []string
	for _, p := range c.Nodes("us-east") {
		all = append(all, p.Spec.Client)
	}
	ctl := func(args string) string {
		t.Helper()
		out, err := output(t, etcdctl(t), append([]string{"--endpoints=" + strings.Join(all, ",")}, strings.Fields(args)...)...)
		if err != nil {
			t.Fatalf("etcdctl %s: %v\n%s", args, err, out)
		}
		return out
	}
	value := strings.Repeat("x", 64<<10)
	full := false
	for i := 0; i < 500 && !full; i++ {
		_, err := east.Put(t.Context(), fmt.Sprintf("k%d", i%4), value)
		if err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatal(err)
		}
		full = err != nil
	}
	if !full {
		t.Fatal("500 puts of 64 KiB fit into 2 MiB")
	}
	c.Eventually(10*time.Second, "the alarm", func() string {
		if out := ctl("alarm list"); !strings.Contains(out, "alarm:NOSPACE") {
			return "etcdctl alarm list prints " + out
		}
		return ""
	})
	if out := ctl("endpoint status -w json"); !strings.Contains(out, "NOSPACE") || !strings.Contains(out, `"dbSizeQuota":2097152`) {
		t.Errorf("status says nothing of it:\n%s", out)
	}
	if _, err := east.Delete(t.Context(), "k0"); err != nil {
		t.Errorf("delete: %v", err)
	}
	r, err := east.Get(t.Context(), "k1")
	if err != nil {
		t.Fatal(err)
	}
	ctl(fmt.Sprintf("compaction %d", r.Header.Revision))
	// Compaction deletes in the background; what a defragmentation still finds is copied, and found by the next.
	c.Eventually(20*time.Second, "the files to be below the quota", func() string {
		ctl("defrag")
		for _, p := range c.Nodes("us-east") {
			st, err := east.Status(t.Context(), p.Spec.Client)
			if err != nil {
				return err.Error()
			}
			if st.DbSize > quota/2 {
				return fmt.Sprintf("%s has %d bytes", p.Spec.Name, st.DbSize)
			}
		}
		return ""
	})
	ctl("alarm disarm")
	if out := ctl("alarm list"); strings.Contains(out, "NOSPACE") {
		t.Errorf("after disarm: %s", out)
	}
	if _, err := east.Put(t.Context(), "again", "1"); err != nil {
		t.Errorf("put when there is space again: %v", err)
	}
	// Everything is still there after a restart of all nodes on their new files.
	for _, p := range c.Nodes("us-east") {
		p.Kill()
	}
	for _, p := range c.Nodes("us-east") {
		p.Start()
	}
	c.Eventually(20*time.Second, "the data after a restart", func() string {
		r, err := c.Client("us-east").Get(t.Context(), "k3")
		if err != nil || r.Count != 1 || len(r.Kvs[0].Value) != len(value) {
			return fmt.Sprintf("%v, %v", r, err)
		}
		return ""
	})
}
