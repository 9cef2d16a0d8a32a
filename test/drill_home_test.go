package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"geogate/cmd/dev"
	"geogate/cmd/dr"
	"geogate/cmd/drill"
	"geogate/configs"
)

// startHomeDrills is a dev cluster whose drills have a single-writer keyspace, as cmd/drill/README.md says.
func startHomeDrills(t *testing.T) *drills {
	t.Helper()
	d := &drills{base: freeBase(t, 28_000)}
	d.dir, _ = workdir(t)
	folder := filepath.Join(d.dir, dev.DefaultDir)
	top := configs.Default()
	top.Cluster = "dev"
	top.Log.Level = "warn"
	top.Keyspaces = []configs.Keyspace{{Prefix: "/geogate.drill/", Mode: configs.SingleWriter, Home: "us-east"}}
	for i, name := range dev.DefaultDCs() {
		dc := configs.Datacenter{Name: name, KeyFile: filepath.Join("keys", name+".seed")}
		var err error
		if dc.PublicKey, err = configs.NewKey(filepath.Join(folder, dc.KeyFile)); err != nil {
			t.Fatal(err)
		}
		at := func(offset int) string { return fmt.Sprintf("127.0.0.1:%d", d.base+100*i+offset) }
		dc.Nodes = []configs.Node{{Name: "n0", Client: at(0), Raft: at(1), Admin: at(2), NATS: at(3), Dir: filepath.Join("data", name, "n0")}}
		top.Datacenters = append(top.Datacenters, dc)
	}
	text, err := top.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "topology.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	devCluster(t, d.dir, "--rtt", "60ms")
	return d
}

// home is where the drills' keyspace is now, and its epoch.
func (d *drills) home(t *testing.T) (string, uint64) {
	t.Helper()
	r, err := dr.Client{Endpoint: fmt.Sprintf("127.0.0.1:%d", d.base+2)}.Status(t.Context())
	if err != nil || len(r.Keyspaces) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Keyspaces[0].Home, r.Keyspaces[0].Epoch
}

// stepsOf are a report's steps with what came of them, in words that do not change from run to run.
func stepsOf(r *drill.Report) (out []string) {
	for _, s := range r.Steps {
		out = append(out, s.Name+": "+s.Outcome)
	}
	return out
}

// TestDrillsOfAHome loses a home on purpose, and gives a drill up that is going badly.
func TestDrillsOfAHome(t *testing.T) {
	t.Parallel()
	d := startHomeDrills(t)
	t.Run("lose-home passes", func(t *testing.T) { d.loseHome(t) })
	t.Run("a drill that misses an objective by a lot is given up", func(t *testing.T) { d.giveUp(t) })
}

func (d *drills) loseHome(t *testing.T) {
	r, code, _ := d.run(t, "lose-home")
	if r == nil || code != 0 || !r.Passed || r.Aborted != "" || len(r.Problems) != 0 {
		t.Fatalf("exit %d, %+v", code, r)
	}
	if r.Scenario != "lose-home" || r.Keyspace != "/geogate.drill/" || r.Mode != configs.SingleWriter || fmt.Sprint(r.Datacenters) != "[us-east eu-west ap-south]" {
		t.Errorf("scenario %s of %s, %s, %v", r.Scenario, r.Keyspace, r.Mode, r.Datacenters)
	}
	if r.Acknowledged < 100 || r.Failed == 0 || r.AcknowledgedLost == nil || *r.AcknowledgedLost != 0 || len(r.LostKeys) != 0 || r.AtRisk != 0 || !r.Verified {
		t.Errorf("%d acknowledged, %d failed, lost %v, at risk %d, verified %t", r.Acknowledged, r.Failed, r.AcknowledgedLost, r.AtRisk, r.Verified)
	}
	if r.Detect == nil || *r.Detect < 1 || *r.Detect > 15 || r.RTO == nil || *r.RTO < *r.Detect/2 || *r.RTO > 40 || r.WritePause < *r.Detect/2 || r.WritePause > 45 {
		t.Errorf("detect %v, rto %v, write pause %.3fs", r.Detect, r.RTO, r.WritePause)
	}
	want := []string{
		"wait 3s: ok", "kill us-east: ok", "wait for detected: ok", "failover to eu-west: ok", "wait for home: ok", "wait 2s: ok", "start us-east: ok",
		"wait for healthy: ok", "wait for converged: ok",
	}
	steps := stepsOf(r)
	if len(steps) < len(want) || !slices.Equal(steps[:len(want)], want) {
		t.Errorf("steps\n%s\nwant first\n%s", strings.Join(steps, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range []string{"undo: switchover to us-east: ok", "check: every acknowledged write, everywhere: ok", "check: verify digest: ok", "check: remove the keys: ok"} {
		if !slices.Contains(steps, s) {
			t.Errorf("no step %q in\n%s", s, strings.Join(steps, "\n"))
		}
	}
	if home, epoch := d.home(t); home != "us-east" || epoch < 3 {
		t.Errorf("the home is %s in epoch %d: it has been elsewhere", home, epoch)
	}
	d.intact(t)
}

// giveUp moves the home and lets its new datacenter lose power, on links that were made slow: nobody can write. The
// drill must not go on like that for a minute.
func (d *drills) giveUp(t *testing.T) {
	_, before := d.home(t)
	r, code, stderr := d.run(t, d.scenario(t, "name: hopeless\nload: {writers: 1, readers: 0, rate: 10, timeout: 2s}\nsteps:\n  - switchover: {to: $next}\n"+
		"  - wait_for: home\n  - link: {a: $1, b: $3, rtt: 100ms, bandwidth: 1MB}\n  - kill: $next\n  - wait: 1m\n  - start: $next\nobjectives: {write_pause: 1s}\n"))
	if r == nil || code != 1 || r.Passed || !strings.Contains(r.Aborted, "write_pause has reached") || !strings.Contains(stderr, "the objective is 1s") {
		t.Fatalf("exit %d, %+v", code, r)
	}
	steps := stepsOf(r)
	i := slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, "wait 1m0s: ") })
	if i < 0 || !strings.Contains(steps[i], "aborted: write_pause has reached") || r.Steps[i].Seconds > 30 || steps[i+1] != "start eu-west: skipped" {
		t.Fatalf("steps\n%s", strings.Join(steps, "\n"))
	}
	for _, s := range []string{"undo: heal the links: ok", "undo: start eu-west: ok", "undo: wait for healthy: ok", "undo: switchover to us-east: ok"} {
		if !slices.Contains(steps, s) {
			t.Errorf("no step %q in\n%s", s, strings.Join(steps, "\n"))
		}
	}
	if r.AcknowledgedLost == nil || *r.AcknowledgedLost != 0 || !r.Verified {
		t.Errorf("lost %v, verified %t", r.AcknowledgedLost, r.Verified)
	}
	if home, epoch := d.home(t); home != "us-east" || epoch < before+2 {
		t.Errorf("the home is %s in epoch %d, before %d", home, epoch, before)
	}
	d.intact(t)
}
