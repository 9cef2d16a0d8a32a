package test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// TestEtcdctlSaysTheSameAsOnEtcd runs stock etcdctl commands against a real etcd and against a datacenter
// that has two peers, and compares what it prints.
func TestEtcdctlSaysTheSameAsOnEtcd(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	etcd := etcdbin.New(t, 1)
	bin := etcdctl(t)
	run := func(endpoint, stdin string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), bin, append([]string{"--endpoints=" + endpoint, "--command-timeout=10s"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%s(%v)", out, err)
		}
		return string(out)
	}
	ours := c.Node("us-east", "n0").Spec.Client
	theirs := etcd.Endpoints()[0]
	// What is an id, an address, a time or a log line differs by nature.
	hide := regexp.MustCompile(`("(?:ClusterID|MemberID|RaftTerm)" :) \d+|("?(?:cluster_id|member_id|raft_term|endpoint)"?:) ?(?:"[^"]*"|\d+)|127\.0\.0\.1:\d+|\{"level":.*\n|took = [0-9.]+\S+`)
	same := func(s string) string { return hide.ReplaceAllString(s, "$1~") }

	for _, step := range []struct {
		stdin string
		args  string
	}{
		{args: "put a 1"},
		{args: "put a 2 --prev-kv"},
		{args: "put dir/x 1"},
		{args: "put dir/y 2"},
		{args: "put dir/z 3"},
		{args: "get a"},
		{args: "get a --print-value-only"},
		{args: "get absent"},
		{args: "get a -w json"},
		{args: "get a -w fields"},
		{args: "get --prefix dir/"},
		{args: "get --prefix dir/ --limit 2 -w json"},
		{args: "get --prefix dir/ --keys-only"},
		{args: "get --prefix dir/ --count-only -w fields"},
		{args: "get --prefix dir/ --sort-by=VALUE --order=DESCEND"},
		{args: "get --prefix dir/ --min-mod-rev=5"},
		{args: "get --from-key dir/y"},
		{args: "get dir/x dir/z"},
		{args: "get a --rev 2"},
		{args: "get a --rev 99"},
		{args: "get a --consistency=s"},
		{args: "put a --ignore-value --prev-kv"},
		{args: "put absent --ignore-value"},
		{args: "put a v --lease=1234"},
		{args: "del dir/x --prev-kv"},
		{args: "del absent"},
		{args: "del --prefix dir/ -w json"},
		{stdin: "value(\"a\") = \"2\"\n\nput a 3\nget a\n\nget a\n\n", args: "txn"},
		{stdin: "value(\"a\") = \"2\"\n\nput a 4\n\nget a\nput b fromfailure\n\n", args: "txn -w json"},
		{stdin: "mod(\"a\") > \"0\"\nversion(\"absent\") = \"0\"\n\ndel a\nput a again\n\n\n", args: "txn"},
		{stdin: "\nput x 1\nput x 2\n\n\n", args: "txn"},
		{args: "compaction 5"},
		{args: "compaction 5"},
		{args: "compaction 999"},
		{args: "get a --rev 3"},
		{args: "get a -w json"},
		{args: "endpoint health"},
		{args: "alarm list"},
	} {
		args := strings.Fields(step.args)
		want, got := same(run(theirs, step.stdin, args...)), same(run(ours, step.stdin, args...))
		if got != want {
			t.Errorf("etcdctl %s\n--- etcd\n%s--- geogate\n%s", step.args, want, got)
		}
	}
	for args, want := range map[string]string{
		"endpoint status -w json": `"version":"3.`,
		"member list -w json":     `"clientURLs":["http://` + ours + `"]`,
	} {
		if got := run(ours, "", strings.Fields(args)...); !strings.Contains(got, want) {
			t.Errorf("etcdctl %s printed %s, want something with %s", args, got, want)
		}
	}
	compareLeases(t, c, run, theirs, ours)
	compareRecipes(t, ours, theirs)
	compareAdmin(t, c, run, theirs, ours)
	expireElsewhere(t, c, "us-east", "eu-west")
}

// TestEtcdctlWatch watches in one datacenter what is written in another.
func TestEtcdctlWatch(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2]})
	bin := etcdctl(t)
	watch := exec.Command(bin, "--endpoints="+c.Node("eu-west", "n0").Spec.Client, "watch", "--prefix", "w/", "--rev=1")
	var out lockedBuffer
	watch.Stdout, watch.Stderr = &out, &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = watch.Process.Kill()
		_ = watch.Wait()
	})
	us := c.Client("us-east")
	for i := range 3 {
		if _, err := us.Put(t.Context(), fmt.Sprintf("w/%d", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := us.Delete(t.Context(), "w/0"); err != nil {
		t.Fatal(err)
	}
	want := "PUT\nw/0\nv\nPUT\nw/1\nv\nPUT\nw/2\nv\nDELETE\nw/0\n\n"
	c.Eventually(10*time.Second, "the events", func() string {
		if got := out.String(); got != want {
			return got
		}
		return ""
	})
}
