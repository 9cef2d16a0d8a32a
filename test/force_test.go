package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestForceNewCluster loses two of a datacenter's three nodes for good, the third one being behind them. What may not
// happen: what this node or the other datacenter has is missing, what was deleted comes back, a revision goes back, or
// the group is taken apart without need.
func TestForceNewCluster(t *testing.T) {
	t.Parallel()
	const dc = "us-east"
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2], Nodes: 3, Edit: func(tp *configs.Topology) {
		tp.Datacenters[1].Nodes = tp.Datacenters[1].Nodes[:1]
		tp.Links = nil // peers go where the nodes say they are
		tp.Policy.Default = "ASYNC"
	}})
	east := c.Client(dc)
	fill(t, east, "early", 100)
	if _, err := east.Put(t.Context(), "gone", "x"); err != nil {
		t.Fatal(err)
	}
	c.WaitEqual(30 * time.Second)
	left := c.Node(dc, "n0")
	left.Kill()
	c.Leader(dc) // another one, if it led
	east = c.Client(dc)
	fill(t, east, "late", 50) // which the node that is left never sees
	if _, err := east.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	c.Eventually(20*time.Second, "the other datacenter to have all", func() string {
		st, err := c.Node("eu-west", "n0").Status(t.Context())
		if err != nil {
			return err.Error()
		}
		if want := lastRevision(t, c, dc); st.Vector[dc] < want {
			return fmt.Sprintf("it has %v, want %d", st.Vector, want)
		}
		return ""
	})
	before := lastRevision(t, c, dc)

	readme := forceCommands(t, c.File())
	force := func(args ...string) (string, int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, cluster.Binary(t), args...).CombinedOutput()
		return string(out), exitCode(err)
	}
	other := func(flag string) []string { return append(readme[0][:len(readme[0])-1:len(readme[0])-1], flag) }
	if out, code := force(readme[0]...); code != 1 || !strings.Contains(out, "is not lost: member n") {
		t.Fatalf("forced while others are there: %d, %s", code, out)
	}
	for _, name := range []string{"n1", "n2"} {
		c.Node(dc, name).Kill()
		if err := os.RemoveAll(c.Node(dc, name).Spec.Dir); err != nil {
			t.Fatal(err)
		}
	}
	if out, code := force(other("eu-west/n0")...); code != 1 || !strings.Contains(out, "nothing was done") {
		t.Errorf("forced under another name: %d, %s", code, out)
	}
	out, code := force(readme[0]...)
	found := regexp.MustCompile(`--force-new-cluster (us-east/n0@\d+)`).FindStringSubmatch(out)
	if code != 1 || found == nil || !strings.Contains(out, "n1 (") || !strings.Contains(out, "n2 (") {
		t.Fatalf("what it would mean: %d, %s", code, out)
	}
	if out, code := force(other(dc + "/n0@7")...); code != 1 || !strings.Contains(out, "nothing was done") {
		t.Errorf("forced at another index: %d, %s", code, out)
	}
	if want := readme[1][len(readme[1])-1]; want != dc+"/n0@INDEX" {
		t.Errorf("README.md confirms with %s", want)
	}
	left.Start("--force-new-cluster", found[1])
	whole := func() string {
		for prefix, want := range map[string]int64{"early/": 100, "late/": 50, "gone": 0} {
			for _, where := range allDCs[:2] {
				r, err := c.Client(where).Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
				if err != nil || r.Count != want {
					return fmt.Sprintf("%s in %s: %v, %v, want %d", prefix, where, r, err, want)
				}
			}
		}
		return ""
	}
	lost := []configs.Node{c.Node(dc, "n1").Spec, c.Node(dc, "n2").Spec}
	c.DropNodes(dc, "n1", "n2")
	c.Eventually(30*time.Second, "all data to be back, and nothing that was deleted", whole)
	if got := lastRevision(t, c, dc); got <= before {
		t.Errorf("revision %d after %d", got, before)
	}

	// The lost nodes are replaced, under their old names and addresses.
	ctl := &memberctl{t: t, bin: etcdctl(t), endpoints: left.Spec.Client}
	for _, n := range lost {
		ctl.must(" to cluster ", "member", "add", n.Name, "--learner", "--peer-urls=http://"+n.Raft)
		c.AddNode(dc, n, true).Start()
		ctl.must("promoted in cluster", "member", "promote", ctl.id(n.Name))
	}
	fill(t, c.Client(dc), "anew", 20)
	fill(t, c.Client("eu-west"), "west", 20)
	c.WaitEqual(60 * time.Second)
	if problem := whole(); problem != "" {
		t.Error(problem)
	}

	// A flag that was forgotten does nothing, whoever is there.
	for _, p := range c.Nodes(dc) {
		p.Kill()
	}
	left.Start("--force-new-cluster", found[1])
	for _, p := range c.Nodes(dc)[1:] {
		p.Start()
	}
	fill(t, c.Client(dc), "again", 5)
	if list := ctl.run("member", "list"); strings.Count(list, "started") != 3 {
		t.Errorf("members:\n%s", list)
	}
	c.WaitEqual(60 * time.Second)
}

// lastRevision is a datacenter's revision as its leader knows it.
func lastRevision(t *testing.T, c *cluster.Cluster, dc string) int64 {
	t.Helper()
	st, err := c.Leader(dc).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.Revision
}

// forceCommands are the arguments of the README's commands for a datacenter that lost its majority.
func forceCommands(t *testing.T, file string) (out [][]string) {
	t.Helper()
	for _, x := range examples(t) {
		if x.name != "force" {
			continue
		}
		for _, line := range lines(x.body) {
			out = append(out, strings.Fields(strings.Replace(line, "geogate.yaml", file, 1))[1:])
		}
	}
	if len(out) != 2 {
		t.Fatalf("README.md has %d commands to force a new group, want 2", len(out))
	}
	return out
}
