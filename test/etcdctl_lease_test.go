package test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/test/cluster"
)

// compareLeases has etcdctl do the same with leases, locks and elections at two endpoints.
func compareLeases(t *testing.T, c *cluster.Cluster, run func(endpoint, stdin string, args ...string) string, theirs, ours string) {
	t.Helper()
	id := regexp.MustCompile(`\b[0-9a-f]{14,16}\b`)
	varies := regexp.MustCompile(`remaining\(\d+s\)|"?(cluster_id|member_id|raft_term|revision)"?:\d+|\{"level":.*\n|"(ClusterID|MemberID|RaftTerm|Revision)" : \d+|"ttl":\d+`)
	leases := map[string]string{}
	for _, step := range []string{
		"lease list",
		"lease grant 600",
		"put leased/b 1 --lease=LEASE",
		"lease timetolive LEASE",
		"lease timetolive LEASE --keys", // of several keys, etcd's order is random
		"lease timetolive LEASE --keys -w json",
		"put leased/a 2 --lease=LEASE",
		"lease list",
		"lease keep-alive LEASE --once",
		"put leased/a 3 --ignore-lease",
		"get leased/a -w fields",
		"put leased/a 4",
		"lease timetolive LEASE --keys",
		"lease revoke LEASE",
		"lease revoke LEASE",
		"lease timetolive LEASE",
		"lease keep-alive LEASE --once",
		"get --prefix leased/",
		"put leased/a 5 --lease=LEASE",
		"lease list",
		"lease grant 0",
		"lease revoke LEASE",
		"lease grant 9000000001",
		"lock mutex echo held",
		"lock mutex --ttl 5 -- sh -c false",
	} {
		got := map[string]string{}
		for _, at := range []string{theirs, ours} {
			args := strings.Fields(strings.ReplaceAll(step, "LEASE", leases[at]))
			out := run(at, "", args...)
			if granted := id.FindString(out); granted != "" && strings.HasPrefix(step, "lease grant") {
				leases[at] = granted
			}
			got[at] = varies.ReplaceAllString(id.ReplaceAllString(out, "ID"), "$1~")
			if l, ok := leases[at]; ok { // JSON has it in decimal
				var n int64
				if _, err := fmt.Sscanf(l, "%x", &n); err == nil {
					got[at] = strings.ReplaceAll(got[at], fmt.Sprint(n), "ID")
				}
			}
		}
		if got[ours] != got[theirs] {
			t.Errorf("etcdctl %s\n--- etcd\n%s--- geogate\n%s", step, got[theirs], got[ours])
		}
	}
	compareElections(t, c, theirs, ours)
}

// compareElections lets a candidate win at each endpoint, shows it to a listener, and lets it resign.
func compareElections(t *testing.T, c *cluster.Cluster, theirs, ours string) {
	t.Helper()
	key := regexp.MustCompile(`seat/[0-9a-f]+`)
	for _, at := range []string{theirs, ours} {
		var won, seen lockedBuffer
		start := func(out *lockedBuffer, args ...string) *exec.Cmd {
			cmd := exec.Command(etcdctl(t), append([]string{"--endpoints=" + at, "elect", "seat"}, args...)...)
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			return cmd
		}
		start(&won, "candidate")
		start(&seen, "--listen")
		for _, out := range []*lockedBuffer{&won, &seen} {
			c.Eventually(10*time.Second, "an election at "+at, func() string {
				if got := key.ReplaceAllString(out.String(), "KEY"); got != "KEY\ncandidate\n" {
					return got
				}
				return ""
			})
		}
	}
}

// expireElsewhere sees a key of a lease come and go in another datacenter than that of the lease.
func expireElsewhere(t *testing.T, c *cluster.Cluster, here, there string) {
	t.Helper()
	from, to := c.Client(here), c.Client(there)
	events := to.Watch(t.Context(), "expires")
	lease, err := from.Grant(t.Context(), 1)
	if err != nil || lease.TTL != 2 {
		t.Fatal(lease, err)
	}
	if _, err := from.Put(t.Context(), "expires", "v", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 2 {
		select {
		case r := <-events:
			for _, e := range r.Events {
				got = append(got, fmt.Sprintf("%s lease %t", e.Type, e.Kv.Lease == int64(lease.ID)))
			}
		case <-time.After(15 * time.Second):
			t.Fatalf("%s saw only %v", there, got)
		}
	}
	if s := strings.Join(got, ", "); s != "PUT lease true, DELETE lease false" {
		t.Errorf("%s saw %s", there, s)
	}
	if l, err := to.Leases(t.Context()); err != nil || len(l.Leases) != 0 {
		t.Errorf("%s has leases %v, %v", there, l, err)
	}
}
