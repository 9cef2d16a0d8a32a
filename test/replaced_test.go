package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/test/cluster"
)

// A write is acknowledged by the home and ap-south, and eu-west doesn't have it. ap-south loses its data for good, and the home
// is down. Between the two that are left nobody has the write, and neither may decide without it.
func TestReplacedDatacenterDoesNotVoteAWriteAway(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Edit: singleWriter(false)})
	for _, dc := range []string{"eu-west", "ap-south"} {
		waitHome(c, t, dc, "us-east", 20*time.Second)
	}
	c.Eventually(20*time.Second, "the home to take writes", func() string {
		if _, err := put(t.Context(), c.Client("us-east"), "/home/before", "1", "QUORUM", 10*time.Second); err != nil {
			return err.Error()
		}
		return ""
	})
	c.WaitEqual(20 * time.Second)
	votes := func(dc string) {
		t.Helper()
		c.Eventually(30*time.Second, dc+" to have a vote", func() string {
			out, err := drAt(c, t, dc, "status")
			if err != nil || strings.Contains(out, "no vote") {
				return fmt.Sprint(out, err)
			}
			return ""
		})
	}
	votes("ap-south")
	c.Isolate("eu-west")
	if _, err := put(t.Context(), c.Client("us-east"), "/home/k", "acknowledged", "QUORUM", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, dc := range []string{"us-east", "ap-south"} {
		for _, p := range c.Nodes(dc) {
			p.Kill()
		}
	}
	for _, p := range c.Nodes("ap-south") {
		if err := os.RemoveAll(p.Spec.Dir); err != nil {
			t.Fatal(err)
		}
		p.Start()
	}
	c.Rejoin("eu-west")
	c.Eventually(20*time.Second, "ap-south to say that it has no vote", func() string {
		out, err := drAt(c, t, "ap-south", "status")
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(out, "ap-south is new here or lost its data: no vote") || !strings.Contains(out, "no answer of us-east") {
			return out
		}
		return ""
	})
	if out, err := drAt(c, t, "eu-west", "failover", "--keyspace", "/home/", "--deadline", "5s"); err == nil || !strings.Contains(err.Error(), "ap-south (barred)") {
		t.Fatalf("a failover that nobody has the write for: %s, %v", out, err)
	}
	for _, p := range c.Nodes("us-east") {
		p.Start()
	}
	for _, dc := range []string{"eu-west", "ap-south"} {
		c.Eventually(30*time.Second, dc+" to have the write", func() string {
			got, err := c.Client(dc).Get(t.Context(), "/home/k", clientv3.WithSerializable())
			if err != nil || len(got.Kvs) != 1 {
				return fmt.Sprint(got, err)
			}
			return ""
		})
	}
	votes("ap-south")
}
