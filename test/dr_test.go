package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"geogate/cmd/dr"
	"geogate/configs"
	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/registrar"
	"geogate/test/cluster"
)

const locks = "/locks/"

// oneHome gives a cluster a single-writer keyspace whose first home is us-east.
func oneHome(t *configs.Topology) {
	t.Keyspaces = append(t.Keyspaces, configs.Keyspace{Prefix: locks, Mode: configs.SingleWriter, Home: "us-east"})
	t.Timing.HomeLease = 2 * time.Second
}

// runDR runs `geogate dr ... -o json` against a datacenter, unless the command has no output.
func runDR(t *testing.T, c *cluster.Cluster, dc string, into any, args ...string) error {
	t.Helper()
	args = append(append([]string{"dr"}, args...), "--endpoint", c.Node(dc, "n0").Spec.Admin)
	if into != nil {
		args = append(args, "-o", "json")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cluster.Binary(t), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	t.Logf("%v: %v\n%s", args, err, stderr.String())
	if err != nil {
		return fmt.Errorf("%w: %s", err, stderr.String())
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(stdout.Bytes(), into); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stdout.String())
	}
	return nil
}

// waitHome waits until a datacenter is the open home.
func eventuallyHome(t *testing.T, c *cluster.Cluster, dc string) replication.HomeStatus {
	t.Helper()
	var status replication.HomeStatus
	client := dr.Client{Endpoint: c.Node(dc, "n0").Spec.Admin}
	c.Eventually(30*time.Second, dc+" is an open home", func() string {
		r, err := client.Status(t.Context())
		if err != nil {
			return err.Error()
		}
		if status = r.Keyspaces[0]; !status.Open {
			return status.Why
		}
		return ""
	})
	return status
}

// TestMovesOfAHome moves a home there and back, then loses it with a write that nobody else has, and deals with what
// was set aside when it returns.
func TestMovesOfAHome(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Edit: oneHome})
	eventuallyHome(t, c, "us-east")
	us := c.Client("us-east")
	if r, err := put(t.Context(), us, locks+"a", "1", "QUORUM", 10*time.Second); err != nil || len(r.ackedBy) < 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	var moved registrar.MoveStatus
	if err := runDR(t, c, "ap-south", &moved, "switchover", "--keyspace", locks, "--to", "eu-west"); err != nil || moved.Home != "eu-west" {
		t.Fatalf("%+v, %v", moved, err)
	}
	eventuallyHome(t, c, "eu-west")
	if err := runDR(t, c, "eu-west", &moved, "switchover", "--keyspace", locks, "--to", "eu-west"); err == nil || !strings.Contains(err.Error(), "is home of") {
		t.Errorf("to where it is: %v", err)
	}
	if err := runDR(t, c, "eu-west", &moved, "failback", "--keyspace", locks); err != nil || moved.Home != "us-east" || moved.Decided != 3 {
		t.Fatalf("failback: %+v, %v", moved, err)
	}
	eventuallyHome(t, c, "us-east")

	leases := grantTwo(t, us)
	if _, err := put(t.Context(), us, locks+"back", "1", "ALL", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"eu-west", "ap-south"} {
		c.Cut(other, "us-east") // they don't get frames, and it gets no grants, after some time
		c.Cut("us-east", other)
	}
	loseWrites(t, us, leases)
	c.Node("us-east", "n0").Kill()
	for _, other := range []string{"eu-west", "ap-south"} {
		c.Heal(other, "us-east")
		c.Heal("us-east", other)
	}
	waitDown(t, c, "eu-west", "us-east")
	var ledger replication.Ledger
	if err := runDR(t, c, "eu-west", &ledger, "failover", "--keyspace", locks, "--dry-run"); err != nil {
		t.Fatal(err)
	}
	if ledger.Home != "us-east" || ledger.Txns != nil || len(ledger.Reached) != 2 || !strings.Contains(fmt.Sprint(ledger.Notes), "unknown, and lost") {
		t.Errorf("ledger %+v", ledger)
	}
	if err := runDR(t, c, "eu-west", nil, "failover", "--keyspace", locks, "--force", "--confirm", "no"); err == nil || !strings.Contains(err.Error(), "nothing was done") {
		t.Errorf("force without the name: %v", err)
	}
	if err := runDR(t, c, "eu-west", &moved, "failover", "--keyspace", locks); err != nil || moved.Home != "eu-west" || moved.Decided != 4 {
		t.Fatalf("failover: %+v, %v", moved, err)
	}
	eventuallyHome(t, c, "eu-west")
	eu := c.Client("eu-west")
	if got, err := eu.Get(t.Context(), locks+"a"); err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "1" {
		t.Errorf("what a majority had: %v, %v", got, err)
	}
	if r, err := put(t.Context(), eu, locks+"a", "2", "QUORUM", 10*time.Second); err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	c.Node("us-east", "n0").Start()
	c.WaitHealthy(30 * time.Second)
	for _, value := range []string{"other", "1"} { // as it was, and yet somebody may have relied on it
		c.Eventually(20*time.Second, "the home takes a write", func() string {
			if _, err := put(t.Context(), eu, locks+"back", value, "QUORUM", 10*time.Second); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	waitAside(t, c)
	c.WaitEqual(30 * time.Second)
	if got, err := eu.Get(t.Context(), locks+"alone"); err != nil || len(got.Kvs) != 0 {
		t.Errorf("what was set aside is there: %v, %v", got, err)
	}
	replayAside(t, c, leases)
	var report admin.HomesReport
	if err := runDR(t, c, "eu-west", &report, "status"); err != nil || report.Keyspaces[0].Epoch != 4 || len(report.Keyspaces[0].Peers) != 2 {
		t.Errorf("status: %+v, %v", report, err)
	}
}

// grantTwo grants two leases in a datacenter.
func grantTwo(t *testing.T, c *clientv3.Client) (ids [2]clientv3.LeaseID) {
	t.Helper()
	for i := range ids {
		l, err := c.Grant(t.Context(), 600)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = l.ID
	}
	return ids
}

// loseWrites makes the writes that nobody else will have, while the home holds its lease for a moment yet.
func loseWrites(t *testing.T, us *clientv3.Client, leases [2]clientv3.LeaseID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "geogate-policy", "ASYNC"), 5*time.Second)
	defer cancel()
	_, err := us.Txn(ctx).Then(
		clientv3.OpPut(locks+"alone", "lost"), clientv3.OpPut(locks+"leased", "lost", clientv3.WithLease(leases[0])),
		clientv3.OpPut(locks+"orphan", "lost", clientv3.WithLease(leases[1])), clientv3.OpPut(locks+"back", "lost"),
	).Commit()
	if err != nil {
		t.Fatal(err)
	}
}

// waitAside waits until the old home has set aside what nobody else had, and everybody knows how much that is.
func waitAside(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	c.Eventually(30*time.Second, "the writes that nobody else had are set aside", func() string {
		var report struct {
			Quarantine admin.QuarantineSummary `json:"quarantine"`
		}
		if err := runDR(t, c, "eu-west", &report, "status"); err != nil {
			return err.Error()
		}
		for _, at := range report.Quarantine.Datacenters {
			if at.DC == "us-east" && at.Error == "" && len(at.Keyspaces) == 1 {
				k := at.Keyspaces[0]
				if k.Keyspace == locks && k.Writes == 4 && k.Leased == 2 && k.Bytes > 0 && k.Age >= 0 && k.Age < 300 {
					return ""
				}
			}
		}
		return fmt.Sprintf("%+v", report.Quarantine)
	})
}

// replayAside writes again what was set aside at the old home, each in the way that it needs.
func replayAside(t *testing.T, c *cluster.Cluster, leases [2]clientv3.LeaseID) {
	t.Helper()
	us, eu := c.Client("us-east"), c.Client("eu-west")
	var kept []admin.AsideWrite
	if err := runDR(t, c, "us-east", &kept, "quarantine", "list", "--keyspace", locks); err != nil || len(kept) != 4 || kept[0].Base == nil || kept[0].Origin != "us-east" {
		t.Fatalf("%+v, %v", kept, err)
	}
	ids := map[string]string{}
	for _, w := range kept {
		ids[strings.TrimPrefix(string(w.Key), locks)] = strconv.FormatUint(w.ID, 10)
	}
	replay := func(key, dc string, flags ...string) (dr.Replayed, error) {
		var done []dr.Replayed
		args := append([]string{"quarantine", "replay", ids[key], "--keyspace", locks, "--to", c.Node(dc, "n0").Spec.Client}, flags...)
		if err := runDR(t, c, "us-east", &done, args...); err != nil || len(done) != 1 {
			return dr.Replayed{}, err
		}
		return done[0], nil
	}
	if _, err := us.Revoke(t.Context(), leases[1]); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		key, dc string
		flags   []string
		result  string
		fails   string
	}{
		{"alone", "eu-west", nil, "", "addresses of two datacenters"},
		{"alone", "us-east", nil, "replayed", ""},
		{"leased", "us-east", nil, "replayed", ""},
		{"orphan", "us-east", nil, "", "leases have ended"},
		{"orphan", "us-east", []string{"--without-lease"}, "replayed", ""},
		{"back", "us-east", nil, "", "keys have changed since"},
		{"back", "us-east", []string{"--overwrite"}, "overwritten", ""},
	} {
		done, err := replay(x.key, x.dc, x.flags...)
		if (err == nil) != (x.fails == "") || err != nil && !strings.Contains(err.Error(), x.fails) || done.Result != x.result {
			t.Errorf("replay of %s to %s %v: %+v, %v", x.key, x.dc, x.flags, done, err)
		}
	}
	for key, lease := range map[string]clientv3.LeaseID{"alone": 0, "leased": leases[0], "orphan": 0, "back": 0} {
		got, err := eu.Get(t.Context(), locks+key)
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "lost" || clientv3.LeaseID(got.Kvs[0].Lease) != lease {
			t.Errorf("%s, written again through the home: %v, %v", key, got, err)
		}
	}
	if err := runDR(t, c, "us-east", &kept, "quarantine", "list", "--keyspace", locks); err != nil || len(kept) != 0 {
		t.Errorf("some are still kept: %+v, %v", kept, err)
	}
	// The other datacenters got the same tail, and what they keep of it is there already.
	var done []dr.Replayed
	if err := runDR(t, c, "ap-south", &done, "quarantine", "replay", "--all", "--keyspace", locks, "--to", c.Node("ap-south", "n0").Spec.Client); err != nil || len(done) != 4 {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, r := range done {
		if r.Result != "identical" || r.By == nil || r.By.Origin != "eu-west" {
			t.Errorf("replay at another datacenter: %+v", r)
		}
	}
}

// TestWitnessDatacenter loses one of two datacenters with data; a witness is enough to go on.
func TestWitnessDatacenter(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Edit: func(topology *configs.Topology) {
		oneHome(topology)
		i := slices.IndexFunc(topology.Datacenters, func(d configs.Datacenter) bool { return d.Name == "ap-south" })
		topology.Datacenters[i].Witness = true
	}})
	eventuallyHome(t, c, "us-east")
	if r, err := put(t.Context(), c.Client("us-east"), locks+"a", "1", "ALL", 10*time.Second); err != nil || len(r.ackedBy) != 2 {
		t.Fatalf("ALL of the two with data: %+v, %v", r, err)
	}
	if _, err := c.Client("ap-south").Get(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), "is a witness") {
		t.Errorf("read at the witness: %v", err)
	}
	if _, err := put(t.Context(), c.Client("ap-south"), "k", "v", "", 5*time.Second); err == nil || !strings.Contains(err.Error(), "is a witness") {
		t.Errorf("write at the witness: %v", err)
	}
	c.Node("us-east", "n0").Kill()
	var moved registrar.MoveStatus
	if err := runDR(t, c, "eu-west", &moved, "failover", "--keyspace", locks); err != nil || moved.Home != "eu-west" {
		t.Fatalf("failover: %+v, %v", moved, err)
	}
	eventuallyHome(t, c, "eu-west")
	if got, err := c.Client("eu-west").Get(t.Context(), locks+"a"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}
