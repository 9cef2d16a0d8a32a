package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"geogate/test/cluster"
)

// shape is what is left of an answer when ids, addresses, names of nodes, times, sizes, versions, hashes and other numbers
// are taken out, and with them the width of a table's columns.
func shape(s string) string {
	for _, m := range []struct{ what, with string }{
		{`\{"level":.*\n`, ""},
		{`\b(etcd-?\d+|n\d)\b`, "NAME"},
		{`\b[0-9a-f]{13,16}\b`, "#"},
		{`127\.0\.0\.1:\d+`, "ADDRESS"},
		{`"dbSizeQuota":\d+,?`, ""},
		{`-?\d+(\.\d+)*( ?([kMG]?B|[mµn]?s|%))?`, "#"},
		{`[─ ]+`, " "},
	} {
		s = regexp.MustCompile(m.what).ReplaceAllString(s, m.with)
	}
	return s
}

// compareAdmin has etcdctl do what operators do, at two endpoints. What must differ is listed in the README of the
// gateway: the hash, the size and version of files, the quota, and the whole of downgrade, which is not compared.
func compareAdmin(t *testing.T, c *cluster.Cluster, run func(endpoint, stdin string, args ...string) string, theirs, ours string) {
	t.Helper()
	dir := t.TempDir()
	for i, step := range []string{
		"endpoint status", "endpoint status -w table", "endpoint status -w json", "endpoint status -w fields", "endpoint status --cluster -w table",
		"endpoint health -w table", "endpoint health -w json", "endpoint health --cluster",
		"endpoint hashkv", "endpoint hashkv -w table", "endpoint hashkv -w json", "endpoint hashkv --cluster", "endpoint hashkv --rev 999999999",
		"member list", "member list -w table", "member list -w json", "member list -w fields",
		"member remove 1234", "member promote 1234", "member update 1234 --peer-urls=http://127.0.0.1:1",
		"move-leader 1234",
		"alarm list", "alarm disarm",
		"put admin/x 1", "get admin/x -w protobuf --hex", "get admin/x --hex", "get admin/x -w table",
		"compaction 6 --physical", "compaction 6 --physical", "get admin/x --rev 5",
		"defrag", "defrag --cluster",
		"snapshot save FILE",
		"role list -w json", "user list -w json", "auth status -w json",
		"check datascale --load=nonsense", "version",
	} {
		var got [2]string
		for j, at := range []string{theirs, ours} {
			file := filepath.Join(dir, fmt.Sprint(i, j))
			out := run(at, "", strings.Fields(strings.ReplaceAll(step, "FILE", file))...)
			got[j] = shape(strings.ReplaceAll(out, file, "FILE"))
			if strings.Contains(step, "protobuf") { // binary, with the ids in it
				got[j] = fmt.Sprint(strings.HasSuffix(out, "1\n") || strings.Contains(out, "admin/x"))
			}
		}
		if got[0] != got[1] || got[1] == "" && step != "alarm list" && step != "alarm disarm" && step != "role list" {
			t.Errorf("etcdctl %s\n--- etcd\n%s--- geogate\n%s", step, got[0], got[1])
		}
	}
	compareWatches(t, c, run, theirs, ours)
}

// compareWatches watches in all the ways that etcdctl has, from a revision before the events on.
func compareWatches(t *testing.T, c *cluster.Cluster, run func(endpoint, stdin string, args ...string) string, theirs, ours string) {
	t.Helper()
	rev := map[string]string{}
	revision := regexp.MustCompile(`"revision":(\d+)`)
	for _, at := range []string{theirs, ours} {
		found := revision.FindStringSubmatch(run(at, "", "put", "seen/a", "1", "-w", "json"))
		if found == nil {
			t.Fatal("a put shows no revision")
		}
		rev[at] = found[1]
		for _, args := range []string{"put seen/a 2", "put seen/b 1", "del seen/a"} {
			run(at, "", strings.Fields(args)...)
		}
	}
	for _, w := range []struct {
		args, stdin string
		most        int // lines after which there is nothing more
	}{
		{args: "watch seen/a --rev=REV", most: 8},
		{args: "watch --prefix seen/ --rev=REV --prev-kv", most: 17},
		{args: "watch seen/a seen/b --rev=REV --progress-notify -w fields", most: 9},
		{args: "watch seen/a --rev=REV -w json", most: 1},
		{args: "watch -i", stdin: "watch seen/b --rev=REV\nwatch --prefix seen/ --rev=REV\n", most: 12},
		{args: "watch seen/b --rev=REV -- echo seen", most: 4},
	} {
		var got [2]string
		for i, at := range []string{theirs, ours} {
			got[i] = watchFor(t, c, at, strings.ReplaceAll(w.args, "REV", rev[at]), strings.ReplaceAll(w.stdin, "REV", rev[at]), w.most)
		}
		if got[0] != got[1] {
			t.Errorf("etcdctl %s\n--- etcd\n%s--- geogate\n%s", w.args, got[0], got[1])
		}
	}
}

// watchFor is the first lines of a watch.
func watchFor(t *testing.T, c *cluster.Cluster, at, args, stdin string, lines int) string {
	t.Helper()
	cmd := exec.Command(etcdctl(t), append([]string{"--endpoints=" + at}, strings.Fields(args)...)...)
	var out lockedBuffer
	cmd.Stdout = &out
	in, err := cmd.StdinPipe() // stays open: at its end etcdctl would end too
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := in.Write([]byte(stdin)); err != nil {
		t.Fatal(err)
	}
	c.Eventually(10*time.Second, fmt.Sprintf("%d lines of %s", lines, args), func() string {
		if got := out.String(); strings.Count(got, "\n") < lines {
			return got
		}
		return ""
	})
	return shape(out.String())
}
