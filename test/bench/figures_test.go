package main

import (
	"errors"
	"math"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"geogate/configs"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		before := slices.Clone(tc.in)
		if got := median(tc.in); got != tc.want {
			t.Errorf("median(%v) = %g, want %g", tc.in, got, tc.want)
		}
		if !slices.Equal(before, tc.in) {
			t.Errorf("median reordered %v to %v", before, tc.in)
		}
	}
}

func TestMediansAreTakenFigureByFigure(t *testing.T) {
	got := medians([]sample{{Rate: 1, P99: 30}, {Rate: 2, P99: 10, loaded: span{ended: time.Now()}}, {Rate: 3, P99: 20}})
	if want := (sample{Rate: 2, P99: 20}); got != want {
		t.Errorf("medians = %+v, want %+v", got, want)
	}
}

func TestSharesAreOfAllCores(t *testing.T) {
	begin := time.Now()
	before := cpuTime{at: begin, busy: 100, steal: 7}
	cores := float64(runtime.NumCPU())
	after := cpuTime{at: begin.Add(2 * time.Second), busy: 100 + cores, steal: 7 + cores/2}
	if busy, steal := after.shares(before); busy != 0.5 || steal != 0.25 {
		t.Errorf("%g busy and %g stolen, want 0.5 and 0.25", busy, steal)
	}
	after.busy = 100 + 2*cores + 0.01 // the kernel counts whole ticks
	if busy, _ := after.shares(before); busy != 1 {
		t.Errorf("%g busy, want no more than all", busy)
	}
}

func TestRatiosAreOfMedians(t *testing.T) {
	r := caseResult{Samples: map[string][]sample{
		sideEtcd:    {{Rate: 100}, {Rate: 50}, {Rate: 200}},
		sideGeogate: {{Rate: 300}, {Rate: 200}, {Rate: 100}},
		sideCeiling: {{Rate: 400}},
	}}
	r.finish()
	if r.Ratio != 2 || r.OfCeiling != 0.5 {
		t.Errorf("ratio %g, of ceiling %g, want 2 and 0.5", r.Ratio, r.OfCeiling)
	}
	if want := []float64{3, 4, 0.5}; !slices.Equal(r.RoundRatios, want) {
		t.Errorf("ratios of the rounds %v, want %v", r.RoundRatios, want)
	}
	alone := caseResult{Samples: map[string][]sample{sideGeogate: {{Rate: 300}}}}
	alone.finish()
	if alone.Ratio != 0 || alone.OfCeiling != 0 || math.IsNaN(alone.Ratio) {
		t.Errorf("without another side: ratio %g, of ceiling %g, want 0", alone.Ratio, alone.OfCeiling)
	}
}

func TestTableShowsBothSidesAndWhatIsMissing(t *testing.T) {
	work := &caseResult{testCase: testCase{Op: opPut, Clients: 64, Total: 500}, Samples: map[string][]sample{
		sideEtcd:    {{Rate: 1000, P50: 1, P99: 3, P999: 9, CPUMicros: 300, PeakRSS: 64 << 20}},
		sideGeogate: {{Rate: 2500, P50: 0.5, P99: 1, P999: 2, CPUMicros: 100, PeakRSS: 32 << 20}},
	}}
	timed := &caseResult{testCase: testCase{Op: opRange, Clients: 256}, Samples: map[string][]sample{
		sideEtcd: {{Rate: 1000, PeakRSS: 64 << 20}}, sideCeiling: {{Rate: 4000}},
	}}
	work.finish()
	timed.finish()
	text := (&comparison{Cases: []*caseResult{work, timed}}).table()
	for _, want := range []string{
		"| put x500 | 64 | 1000 | 2500 | 2.50x | 1.00 / 0.50 | 3.00 / 1.00 | 9.00 / 2.00 | 300 / 100 | 64 / 32 | - | - |",
		// No memory where each side did as much as it could in the time.
		"| range | 256 | 1000 | - | - | 0.00 / - | 0.00 / - | 0.00 / - | 0 / - | - | 4000 | - |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line\n%s\nin\n%s", want, text)
		}
	}
}

func TestSidesTakeTurns(t *testing.T) {
	sides := []string{"a", "b", "c"}
	for round, want := range [][]string{{"a", "b", "c"}, {"c", "b", "a"}, {"a", "b", "c"}} {
		if got := inTurn(sides, round); !slices.Equal(got, want) {
			t.Errorf("round %d: %v, want %v", round, got, want)
		}
	}
}

func TestTargetsStartAtTheLeader(t *testing.T) {
	all := []string{"a", "b", "c"}
	if got := targets(all, 1, targetAll); !slices.Equal(got, []string{"b", "c", "a"}) {
		t.Errorf("all: %v, want b c a", got)
	}
	if got := targets(all, 2, targetLeader); !slices.Equal(got, []string{"c"}) {
		t.Errorf("leader: %v, want c", got)
	}
}

func TestLoadArguments(t *testing.T) {
	cfg := &Config{ValueBytes: 256, Duration: 1500 * time.Millisecond}
	for _, tc := range []struct {
		in   testCase
		want string
	}{
		{testCase{Op: opPut, Clients: 16}, "bench put --endpoints a,b --clients 16 --value-bytes 256 -o json --duration 1.5s"},
		{testCase{Op: opRange, Clients: 1}, "bench get --endpoints a,b --clients 1 --value-bytes 256 -o json --duration 1.5s"},
		{testCase{Op: opLocal, Clients: 2}, "bench get --endpoints a,b --clients 2 --value-bytes 256 -o json --serializable --duration 1.5s"},
		{testCase{Op: opPut, Clients: 5, Policy: quorum}, "bench put --endpoints a,b --clients 5 --value-bytes 256 -o json --policy QUORUM --duration 1.5s"},
		{testCase{Op: opTxn, Clients: 3}, "bench txn --endpoints a,b --clients 3 --value-bytes 256 -o json --duration 1.5s"},
		{testCase{Op: opPut, Clients: 64, Total: 7}, "bench put --endpoints a,b --clients 64 --value-bytes 256 -o json --total 7"},
	} {
		if got := strings.Join(loadArgs(tc.in, []string{"a", "b"}, cfg), " "); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.in, got, tc.want)
		}
	}
}

func TestParseLoad(t *testing.T) {
	r, err := parseLoad([]byte(`{"op":"put","total":10,"errors":1,"rate":9.5,"p50_ms":0.5,"p99_ms":2,"p99_9_ms":3}`))
	if err != nil || r.Rate != 9.5 || r.P50 != 0.5 || r.P99 != 2 || r.P999 != 3 || r.Errors != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	for name, bad := range map[string]string{
		"no JSON":    `OP  CLIENTS`,
		"nothing":    `{"total":0}`,
		"all failed": `{"total":3,"errors":3,"first_error":"no leader"}`,
	} {
		if r, err := parseLoad([]byte(bad)); err == nil {
			t.Errorf("%s: %+v without an error", name, r)
		}
	}
}

func TestDisturbancesAreSaidInOneLineEach(t *testing.T) {
	quiet := []*comparison{{Cases: []*caseResult{{Samples: map[string][]sample{"a": {{OtherCPU: 0.01}}}}}}}
	if got := disturbances(quiet); len(got) != 0 {
		t.Errorf("of a quiet machine: %v", got)
	}
	busy := []*comparison{{Cases: []*caseResult{{Samples: map[string][]sample{"a": {{OtherCPU: 0.5}, {OtherCPU: 0.3}}, "b": {{OtherCPU: 0.01}}}}}}}
	got := disturbances(busy)
	if len(got) != 1 || !strings.Contains(got[0], "2 of 3 measurements (median of all 30 %, most 50 %)") {
		t.Errorf("of a busy machine: %v", got)
	}
}

func TestTopologyIsOneDatacenterWithDefaults(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		ports := []int{1, 2, 3, 4, 5, 6, 7, 8, 9}[:portsPerNode*nodes]
		text, err := topology("/data", nodes, ports).Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := configs.Parse("bench.yaml", text)
		if err != nil {
			t.Fatalf("%d nodes: %v\n%s", nodes, err, text)
		}
		if len(got.Datacenters) != 1 || len(got.Datacenters[0].Nodes) != nodes {
			t.Errorf("%d nodes: %+v", nodes, got.Datacenters)
		}
		if want := configs.Default(); !reflect.DeepEqual(got.Limits, want.Limits) || !reflect.DeepEqual(got.Timing, want.Timing) || got.Policy != want.Policy {
			t.Errorf("%d nodes: settings differ from the defaults: %+v", nodes, got)
		}
	}
}

func TestConfigThatMakesNoSense(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"side":      func(c *Config) { c.Sides = []string{"zookeeper"} },
		"no sides":  func(c *Config) { c.Sides = nil },
		"clients":   func(c *Config) { c.Clients = []int{0} },
		"txns":      func(c *Config) { c.TxnClients = []int{0} },
		"nodes":     func(c *Config) { c.Nodes = 2 },
		"rtt":       func(c *Config) { c.RTT = 0 },
		"catch-up":  func(c *Config) { c.CatchUp = 0 },
		"crowd":     func(c *Config) { c.Crowd = 0 },
		"geo":       func(c *Config) { c.Geo, c.Sides = true, []string{sideEtcd} },
		"growth":    func(c *Config) { c.GrowthNodes = []int{2} },
		"two runs":  func(c *Config) { c.Geo, c.Growth = true, true },
		"plot":      func(c *Config) { c.Growth, c.Plot = true, "x.svg" },
		"readers":   func(c *Config) { c.ReadClients = []int{-1} },
		"rounds":    func(c *Config) { c.Rounds = 0 },
		"duration":  func(c *Config) { c.Duration = 0 },
		"target":    func(c *Config) { c.Target = "followers" },
		"program":   func(c *Config) { c.Geogate = "/does/not/exist" },
		"loader":    func(c *Config) { c.Loader = "/does/not/exist" },
		"folder":    func(c *Config) { c.Dir = "/does/not/exist" },
		"in memory": func(c *Config) { c.Dir = "/dev/shm" },
		"profile":   func(c *Config) { c.Sides, c.Profile = []string{sideEtcd}, "cpu.prof" },
	} {
		t.Run(name, func(t *testing.T) {
			c := defaults()
			c.Geogate = os.Args[0]
			if name == "in memory" {
				if _, err := os.Stat("/dev/shm"); err != nil {
					t.Skip("no /dev/shm")
				}
			}
			change(&c)
			if err := c.validate(); !errors.Is(err, errUsage) {
				t.Errorf("validate = %v, want errUsage", err)
			}
		})
	}
}

func TestQuickKeepsWhatFlagsSay(t *testing.T) {
	c := defaults()
	c.Rounds = 9
	c.shorten(func(flag string) bool { return flag == "rounds" })
	if c.Rounds != 9 {
		t.Errorf("rounds %d, want the 9 that were asked for", c.Rounds)
	}
	if d := defaults().Duration; c.Duration >= d {
		t.Errorf("duration %s, want less than %s", c.Duration, d)
	}
}
