package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// output runs a command to its end.
func output(t *testing.T, bin string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin, args...).CombinedOutput()
	return string(out), err
}

// TestBackupAndRestore takes a backup with stock etcdctl, loses the datacenter's disk, and starts it from the
// backup. What was written after the backup comes back from the other datacenter.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2]})
	east, west := c.Client("us-east"), c.Client("eu-west")
	fill(t, east, "east", 100)
	fill(t, west, "west", 100)
	c.WaitEqual(30 * time.Second)
	n := c.Node("us-east", "n0")
	backup := filepath.Join(t.TempDir(), "backup.db")
	if out, err := output(t, etcdctl(t), "--endpoints="+n.Spec.Client, "snapshot", "save", backup); err != nil {
		t.Fatal(err, out)
	}
	fill(t, east, "later", 50)
	before := c.WaitEqual(30 * time.Second)

	n.Kill()
	restore := []string{"restore", backup, "--config", c.File(), "--dc", "us-east", "--node", "n0"}
	if out, err := output(t, cluster.Binary(t), restore...); err == nil || !strings.Contains(out, "is not empty") {
		t.Errorf("restored over data: %v, %s", err, out)
	}
	if err := os.RemoveAll(n.Spec.Dir); err != nil {
		t.Fatal(err)
	}
	out, err := output(t, cluster.Binary(t), restore...)
	if err != nil || !strings.Contains(out, "200 keys") {
		t.Fatal(err, out)
	}
	n.Start()
	east = c.Client("us-east")
	c.Eventually(30*time.Second, "the data of the backup and what came later", func() string {
		for prefix, want := range map[string]int64{"east/": 100, "west/": 100, "later/": 50} {
			if problem := lacks(t, c, "us-east", prefix, want); problem != "" {
				return problem
			}
		}
		return ""
	})
	fill(t, east, "second", 20)
	c.WaitEqual(60 * time.Second)
	if problem := lacks(t, c, "eu-west", "second/", 20); problem != "" {
		t.Error(problem)
	}
	st, err := n.Status(t.Context())
	if err != nil || st.Revision <= before["us-east"]+500_000_000 {
		t.Errorf("revision is %+v (%v), it must have grown past every one of before", st, err)
	}
	c.WaitHealthy(30 * time.Second)
}

// TestSnapshotOfEtcd is refused with a word on how to import it.
func TestSnapshotOfEtcd(t *testing.T) {
	t.Parallel()
	c := cluster.Prepare(t, cluster.Options{DCs: allDCs[:1]})
	etcd := etcdbin.New(t, 1)
	backup := filepath.Join(t.TempDir(), "etcd.db")
	if out, err := output(t, etcdctl(t), "--endpoints="+etcd.Endpoints()[0], "snapshot", "save", backup); err != nil {
		t.Fatal(err, out)
	}
	out, err := output(t, cluster.Binary(t), "restore", backup, "--config", c.File())
	if err == nil || !strings.Contains(out, "etcdctl make-mirror") {
		t.Error(err, out)
	}
	for _, flags := range []string{"--bump-revision=-1", "--mark-compacted=false", "--bump-revision=0 --mark-compacted"} {
		args := append([]string{"restore", backup, "--config", c.File()}, strings.Fields(flags)...)
		if out, err := output(t, cluster.Binary(t), args...); exitCode(err) != 2 {
			t.Errorf("%s: %v, %s", flags, err, out)
		}
	}
}

func exitCode(err error) int {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return -1
}

// TestHashesOfADatacenter asks all nodes of one datacenter for the hash of the same revision.
func TestHashesOfADatacenter(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:1], Nodes: 3})
	east := c.Client("us-east")
	fill(t, east, "a", 200)
	if _, err := east.Compact(t.Context(), 150); err != nil {
		t.Fatal(err)
	}
	c.Eventually(10*time.Second, "all nodes to have compacted, and the same hash", func() string {
		hashes := map[string]int{}
		for _, p := range c.Nodes("us-east") {
			r, err := east.HashKV(t.Context(), p.Spec.Client, 201)
			if err != nil {
				return err.Error()
			}
			hashes[fmt.Sprintf("%d at %d of %d", r.Hash, r.HashRevision, r.CompactRevision)]++
		}
		if len(hashes) != 1 {
			return fmt.Sprint(hashes)
		}
		return ""
	})
	out, err := output(t, etcdctl(t), "--endpoints="+c.Node("us-east", "n0").Spec.Client, "endpoint", "hashkv", "--cluster")
	if err != nil || strings.Count(out, ", ") < 3 {
		t.Error(err, out)
	}
}
