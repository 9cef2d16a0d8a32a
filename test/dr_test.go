package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

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

	for _, other := range []string{"eu-west", "ap-south"} {
		c.Cut(other, "us-east") // they don't get frames, and it gets no grants, after some time
		c.Cut("us-east", other)
	}
	if _, err := put(t.Context(), us, locks+"alone", "lost", "ASYNC", 5*time.Second); err != nil {
		t.Fatalf("the home holds its lease for a moment yet: %v", err)
	}
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
	var kept []admin.AsideWrite
	c.Eventually(30*time.Second, "the write that nobody else had is set aside", func() string {
		if err := runDR(t, c, "us-east", &kept, "quarantine", "list", "--keyspace", locks); err != nil {
			return err.Error()
		}
		if len(kept) != 1 || string(kept[0].Key) != locks+"alone" || string(kept[0].New) != "lost" || kept[0].Origin != "us-east" {
			return fmt.Sprintf("%+v", kept)
		}
		return ""
	})
	c.WaitEqual(30 * time.Second)
	if got, err := eu.Get(t.Context(), locks+"alone"); err != nil || len(got.Kvs) != 0 {
		t.Errorf("what was set aside is there: %v, %v", got, err)
	}
	var replayed []dr.Replayed
	client := c.Node("us-east", "n0").Spec.Client
	if err := runDR(t, c, "us-east", &replayed, "quarantine", "replay", "--all", "--keyspace", locks, "--to", client); err != nil || len(replayed) != 1 || replayed[0].Result != "written" {
		t.Fatalf("replay: %+v, %v", replayed, err)
	}
	if got, err := eu.Get(t.Context(), locks+"alone"); err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "lost" {
		t.Errorf("written again through the home: %v, %v", got, err)
	}
	if err := runDR(t, c, "us-east", &kept, "quarantine", "list", "--keyspace", locks); err != nil || len(kept) != 0 {
		t.Errorf("it is still kept: %+v, %v", kept, err)
	}
	var report admin.HomesReport
	if err := runDR(t, c, "eu-west", &report, "status"); err != nil || report.Keyspaces[0].Epoch != 4 || len(report.Keyspaces[0].Peers) != 2 {
		t.Errorf("status: %+v, %v", report, err)
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
