package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"geogate/cmd/dev"
	"geogate/cmd/dr"
	"geogate/cmd/drill"
	"geogate/configs"
	"geogate/test/cluster"
)

// drills is a dev cluster of three datacenters with 60 ms between them, in a process of its own.
type drills struct {
	dir  string
	base int
}

func startDrills(t *testing.T) *drills {
	t.Helper()
	d := &drills{base: freeBase(t, 25_000)}
	d.dir, _ = workdir(t)
	devCluster(t, d.dir, "--rtt", "60ms", "--base-port", fmt.Sprint(d.base))
	return d
}

// freeBase is a base port of a dev cluster whose ports nobody has, among six from one on.
func freeBase(t *testing.T, from int) int {
	t.Helper()
	for base := from; base < from+3000; base += 500 {
		free := true
		for p := base; p < base+204 && free; p++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if free = err == nil; free {
				_ = l.Close()
			}
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// run runs a drill to its end.
func (d *drills) run(t *testing.T, args ...string) (r *drill.Report, code int, stderr string) {
	t.Helper()
	return d.begin(t, args...)()
}

// begin begins one; the result waits for its end.
func (d *drills) begin(t *testing.T, args ...string) (end func() (*drill.Report, int, string)) {
	t.Helper()
	cmd, end := d.command(t, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return end
}

func (d *drills) command(t *testing.T, args ...string) (*exec.Cmd, func() (*drill.Report, int, string)) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(d.dir, "bin", "geogate"), append([]string{"dr", "drill", "run", "-o", "json"}, args...)...)
	cmd.Dir = d.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	return cmd, func() (*drill.Report, int, string) {
		t.Helper()
		err := cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		var r *drill.Report
		if out.Len() > 0 {
			r = &drill.Report{}
			if err := json.Unmarshal(out.Bytes(), r); err != nil {
				t.Fatalf("%v: the report is %s", err, out.String())
			}
		}
		t.Logf("geogate dr drill run %s:\n%s", strings.Join(args, " "), errs.String())
		return r, cmd.ProcessState.ExitCode(), errs.String()
	}
}

func (d *drills) client(t *testing.T, dc int) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{fmt.Sprintf("127.0.0.1:%d", d.base+100*dc)}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// intact fails when a link is cut, a datacenter down, or a key of a drill left.
func (d *drills) intact(t *testing.T) {
	t.Helper()
	c, err := dev.Attach(filepath.Join(d.dir, dev.DefaultDir))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Links {
		if l.Cut || l.RTTMillis != 60 || l.Bandwidth != 0 {
			t.Errorf("a link was left as %+v", l)
		}
	}
	for dc, state := range s.Datacenters {
		if state != dev.Running {
			t.Errorf("%s was left %s", dc, state)
		}
	}
	resp, err := d.client(t, 0).Get(t.Context(), "/geogate.drill/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || resp.Count != 0 {
		t.Errorf("%d keys were left, %v", resp.Count, err)
	}
}

func (d *drills) scenario(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scenario.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDrills runs drills as users do. The built-in cut-link is among the README's commands. It has the machine to itself:
// the scenarios' objectives are bounds in seconds.
func TestDrills(t *testing.T) {
	d := startDrills(t)
	t.Run("lose-dc passes", func(t *testing.T) { d.loseDC(t) })
	t.Run("slow-link passes", func(t *testing.T) { d.slowLink(t) })
	t.Run("a planted loss is found", func(t *testing.T) { d.plantLoss(t) })
	t.Run("an interrupted drill heals what it cut", func(t *testing.T) { d.interrupt(t) })
}

func (d *drills) loseDC(t *testing.T) {
	html, metrics := filepath.Join(t.TempDir(), "drill.html"), filepath.Join(t.TempDir(), "drill.prom")
	r, code, _ := d.run(t, "lose-dc", "--html", html, "--metrics-file", metrics)
	if r == nil || code != 0 || !r.Passed {
		t.Fatalf("exit %d, %+v", code, r)
	}
	if r.Acknowledged < 100 || r.Failed == 0 || *r.AcknowledgedLost != 0 || !r.Verified || r.Detect == nil || *r.Detect < 1 || r.RTO == nil || r.StaleRead < 0 {
		t.Errorf("measured %d acknowledged, %d failed, lost %v, verified %t, detect %v, rto %v", r.Acknowledged, r.Failed, r.AcknowledgedLost, r.Verified, r.Detect, r.RTO)
	}
	want := []string{
		"wait 2s: ok", "kill ap-south: ok", "wait for detected: ok", "wait 2s: ok", "start ap-south: ok", "wait for healthy: ok", "wait for converged: ok",
		"check: converged: ok", "check: every acknowledged write, everywhere: ok", "check: verify digest: ok", "check: remove the keys: ok",
	}
	if got := stepsOf(r); !slices.Equal(got, want) {
		t.Errorf("steps\n%s", strings.Join(got, "\n"))
	}
	if r.Scenario != "lose-dc" || r.Mode != configs.MultiWriter || r.AtRisk != 0 || r.WritePause <= 0 || r.WritePause > 3 || *r.RTO > 10 || *r.Detect > 15 {
		t.Errorf("%s of a %s keyspace: at risk %d, write pause %.3fs, rto %v, detect %v", r.Scenario, r.Mode, r.AtRisk, r.WritePause, *r.RTO, *r.Detect)
	}
	for file, want := range map[string]string{html: "lose-dc", metrics: `geogate_drill_last_passed{cluster="dev",scenario="lose-dc"} 1`} {
		if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s has no %q: %v", file, want, err)
		}
	}
	d.intact(t)
}

// slowLink runs the built-in scenario; its link is back at the end.
func (d *drills) slowLink(t *testing.T) {
	r, code, _ := d.run(t, "slow-link")
	if r == nil || code != 0 || !r.Passed || r.Scenario != "slow-link" || *r.AcknowledgedLost != 0 || !r.Verified || r.Detect != nil {
		t.Fatalf("exit %d, %+v", code, r)
	}
	d.intact(t)
}

// plantLoss deletes an acknowledged key behind the runner's back: deleted in one datacenter, it is gone in all. The
// objective of the write pause can't be met either.
func (d *drills) plantLoss(t *testing.T) {
	end := d.begin(t, d.scenario(t, "name: planted\nload: {writers: 1, rate: 40}\nsteps:\n  - wait: 3s\nobjectives: {write_pause: 1ms}\n"))
	c := d.client(t, 1)
	victim := ""
	for victim == "" && t.Context().Err() == nil {
		resp, err := c.Get(t.Context(), "/geogate.drill/", clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Count < 20 {
			continue
		}
		for _, kv := range resp.Kvs { // the first of a writer that has gone on: it is acknowledged
			if key := string(kv.Key); strings.Contains(key, "/w/us-east/") {
				victim = key
				break
			}
		}
	}
	if _, err := c.Delete(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	r, code, stderr := end()
	if r == nil || code != 1 || r.Passed || r.AcknowledgedLost == nil || *r.AcknowledgedLost != 1 || len(r.LostKeys) != 1 || r.LostKeys[0] != victim {
		t.Fatalf("%s was deleted; exit %d, %+v", victim, code, r)
	}
	for _, want := range []string{"acknowledged_lost is 1, and the objective is at most 0", "write_pause is"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr does not say %q", want)
		}
	}
	d.intact(t)
}

// interrupt sends SIGINT while a link is cut.
func (d *drills) interrupt(t *testing.T) {
	cmd, end := d.command(t, d.scenario(t, "name: interrupted\nsteps:\n  - cut: {a: $1, b: $2}\n  - link: {a: $2, b: $3, rtt: 5ms, bandwidth: 1MB}\n  - wait: 1m\n"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := dev.Attach(filepath.Join(d.dir, dev.DefaultDir))
	if err != nil {
		t.Fatal(err)
	}
	for broken := 0; broken < 2; {
		s, err := c.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		broken = 0
		for _, l := range s.Links {
			if l.Cut || l.Bandwidth > 0 {
				broken++
			}
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r, code, _ := end()
	if r == nil || code != 1 || r.Passed || !strings.Contains(r.Aborted, "told to stop") || r.AcknowledgedLost == nil || *r.AcknowledgedLost != 0 {
		t.Errorf("exit %d, %+v", code, r)
	}
	d.intact(t)
}

// TestDrillMovesAHome runs the moves of a home by the admin API alone, as in production.
func TestDrillMovesAHome(t *testing.T) {
	canary := cluster.Options{Edit: func(top *configs.Topology) {
		top.Keyspaces = append(top.Keyspaces, configs.Keyspace{Prefix: "/geogate.drill/", Mode: configs.SingleWriter, Home: "us-east", Policy: "QUORUM"})
	}}
	c := cluster.Start(t, canary)
	d := &drills{}
	d.dir, _ = workdir(t)
	t.Run("there and back", func(t *testing.T) { d.thereAndBack(t, c) })
	t.Run("an interrupted drill moves the home back", func(t *testing.T) { d.interruptAway(t, c) })
}

// patient is a built-in scenario with a wider objective for the pause of writes: other tests keep the disk busy.
func patient(t *testing.T, name string) string {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), cluster.Binary(t), "dr", "drill", "scenario", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	wider := strings.Replace(string(text), "write_pause: 2s", "write_pause: 10s", 1)
	if wider == string(text) {
		t.Fatalf("no pause of 2s in %s", text)
	}
	file := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(file, []byte(wider), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (d *drills) thereAndBack(t *testing.T, c *cluster.Cluster) {
	r, code, _ := d.run(t, patient(t, "switchover-and-back"), "--config", c.File())
	if r == nil || code != 0 || !r.Passed {
		t.Fatalf("exit %d, %+v", code, r)
	}
	if *r.AcknowledgedLost != 0 || !r.Verified || r.Acknowledged < 100 || r.Mode != configs.SingleWriter {
		t.Errorf("measured %d acknowledged, lost %v, verified %t, mode %s", r.Acknowledged, *r.AcknowledgedLost, r.Verified, r.Mode)
	}
	moves := 0
	for _, e := range r.Events {
		if strings.Contains(e.Text, " is the home, epoch ") {
			moves++
		}
	}
	if moves < 2 {
		t.Errorf("the home has moved %d times, want there and back; events: %+v", moves, r.Events)
	}
}

// interruptAway sends SIGINT as soon as the home is elsewhere.
func (d *drills) interruptAway(t *testing.T, c *cluster.Cluster) {
	home := func() string {
		us, _ := c.Topology.Datacenter("us-east")
		r, err := dr.Client{Endpoint: us.Nodes[0].Admin}.Status(t.Context())
		if err != nil || len(r.Keyspaces) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Keyspaces[0].Home
	}
	cmd, end := d.command(t, d.scenario(t, "name: away\nsteps:\n  - switchover: {to: ap-south}\n  - wait: 1m\n"), "--config", c.File())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for home() != "ap-south" {
		runtime.Gosched()
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r, code, _ := end()
	if r == nil || code != 1 || r.Passed || len(r.Problems) != 1 || !strings.Contains(r.Aborted, "told to stop") || home() != "us-east" {
		t.Errorf("the home is %s; exit %d, %+v", home(), code, r)
	}
}
