package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"geogate/cmd/bench"
)

// loaderEnv turns this test binary into a load generator with the command line of `geogate bench`.
const loaderEnv = "BENCH_TEST_LOADER"

func TestMain(m *testing.M) {
	if os.Getenv(loaderEnv) == "" {
		code := m.Run()
		if built != "" {
			_ = os.Remove(built) // a file in the folder for temporary ones
		}
		os.Exit(code)
	}
	if err := loadGenerator(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func loadGenerator(args []string) error {
	if len(args) > 0 && args[0] == natsLoad {
		cmd := newCommand()
		cmd.SetArgs(args)
		return cmd.ExecuteContext(context.Background())
	}
	if len(args) < 2 || args[0] != "bench" {
		return fmt.Errorf("arguments %q, want bench and an operation", args)
	}
	c := bench.Config{Op: bench.Op(args[1]), Keys: 10}
	f := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	f.StringSliceVar(&c.Endpoints, "endpoints", nil, "")
	f.IntVar(&c.Clients, "clients", 0, "")
	f.IntVar(&c.Total, "total", 0, "")
	f.IntVar(&c.ValueBytes, "value-bytes", 0, "")
	f.DurationVar(&c.Duration, "duration", 0, "")
	f.StringVar(&c.Policy, "policy", "", "")
	f.BoolVar(&c.Serializable, "serializable", false, "")
	_ = f.StringP("output", "o", "", "") // always json
	if err := f.Parse(args[2:]); err != nil {
		return err
	}
	r, err := bench.Run(context.Background(), c)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// short is a run of the real thing with little work.
func short(t *testing.T, sides ...string) Config {
	t.Helper()
	t.Setenv(loaderEnv, "1")
	t.Setenv("GORACE", "atexit_sleep_ms=0") // a load generator under the race detector would wait a second at its end
	c := defaults()
	c.Sides, c.Loader, c.Self, c.Dir = sides, os.Args[0], os.Args[0], t.TempDir()
	c.Clients, c.ReadClients, c.TxnClients, c.Single = []int{1, 4}, []int{4}, []int{4}, false
	c.Rounds, c.Duration, c.WorkPuts = 2, 50*time.Millisecond, 100
	return c
}

// progressOf a run appears in the test's log.
func progressOf(t *testing.T) func(string, ...any) {
	return func(format string, args ...any) { t.Logf(format, args...) }
}

func TestCeilingAloneIsMeasured(t *testing.T) {
	c := short(t, sideCeiling)
	c.JSON = filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	if err := run(t.Context(), &c, &out, progressOf(t)); err != nil {
		t.Fatal(err)
	}
	r := readReport(t, c.JSON)
	if len(r.Comparisons) != 1 || len(r.Comparisons[0].Cases) != 6 {
		t.Fatalf("report %+v, want one comparison of 6 cases", r)
	}
	for _, tc := range r.Comparisons[0].Cases {
		want := c.Rounds
		if tc.Total > 0 {
			want = 1
		}
		if got := len(tc.Samples[sideCeiling]); got != want {
			t.Errorf("%s: %d samples, want %d", tc.testCase, got, want)
		}
		if m := tc.Medians[sideCeiling]; m.Rate <= 0 || m.P50 <= 0 || m.P999 < m.P99 || m.Errors != 0 || m.PeakRSS <= 0 {
			t.Errorf("%s: median %+v, want figures above 0 and no error", tc.testCase, m)
		}
		if tc.Ratio != 0 {
			t.Errorf("%s: ratio %g of sides that were not measured", tc.testCase, tc.Ratio)
		}
	}
	if !strings.Contains(out.String(), "| put x100 |") {
		t.Errorf("no line of the fixed work in\n%s", out.String())
	}
	left, err := os.ReadDir(c.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestEtcdIsMeasured(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts a real etcd")
	}
	c := short(t, sideEtcd, sideCeiling)
	c.JSON = filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	if err := run(t.Context(), &c, &out, progressOf(t)); err != nil {
		t.Fatal(err)
	}
	checkServers(t, readReport(t, c.JSON), sideEtcd)
}

func TestGeogateIsMeasured(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts a geogate datacenter")
	}
	c := short(t, sideGeogate)
	c.Geogate = buildGeogate(t)
	c.JSON = filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	if err := run(t.Context(), &c, &out, progressOf(t)); err != nil {
		t.Fatal(err)
	}
	checkServers(t, readReport(t, c.JSON), sideGeogate)
}

func TestJetStreamIsMeasured(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts three nats-servers")
	}
	c := short(t, sideNATS)
	c.JSON = filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	if err := run(t.Context(), &c, &out, progressOf(t)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range readReport(t, c.JSON).Comparisons[0].Cases {
		m, ok := tc.Medians[sideNATS]
		if ok != (tc.Op == opPut) || ok && (m.Rate <= 0 || m.Errors > 0 || m.PeakRSS < 30<<20) {
			t.Errorf("%s: measured %t, %+v; want puts, and only those", tc.testCase, ok, m)
		}
	}
	if !strings.Contains(out.String(), "not gRPC") || !strings.Contains(out.String(), "| put x100 |") {
		t.Errorf("no table of JetStream in\n%s", out.String())
	}
}

// TestJetStreamSyncsAlways: without it the comparison would be with one that may lose what it answered.
func TestJetStreamSyncsAlways(t *testing.T) {
	text := natsConfig("/data", []int{1, 2, 3, 4, 5, 6}, 1)
	for _, want := range []string{"sync_interval: always", `listen: "127.0.0.1:3"`, `"nats://127.0.0.1:2", "nats://127.0.0.1:4", "nats://127.0.0.1:6"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func buildGeogate(t *testing.T) string {
	t.Helper()
	path, err := builtGeogate()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// builtGeogate builds the program once for all tests; TestMain removes it.
var builtGeogate = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("geogate-bench-test-%d", os.Getpid()))
	if out, err := exec.Command("go", "build", "-o", path, "geogate/cmd/geogate").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build geogate: %w\n%s", err, out)
	}
	built = path
	return path, nil
})

// built is the path of what builtGeogate has built.
var built string

// checkServers wants figures that only real server processes give.
func checkServers(t *testing.T, r report, name string) {
	t.Helper()
	for _, tc := range r.Comparisons[0].Cases {
		m := tc.Medians[name]
		if m.Rate <= 0 || m.Errors != 0 {
			t.Errorf("%s: %+v, want a rate and no errors", tc.testCase, m)
		}
		if tc.Op == opPut && m.PeakRSS < 30<<20 {
			t.Errorf("%s: peak RSS %.0f bytes, want that of three servers", tc.testCase, m.PeakRSS)
		}
	}
}

func readReport(t *testing.T, path string) report {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestInterruptedRunLeavesNothing(t *testing.T) {
	c := short(t, sideCeiling)
	ctx, cancel := context.WithCancel(t.Context())
	err := run(ctx, &c, &bytes.Buffer{}, func(string, ...any) { cancel() }) // at the first sign of life
	if !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v, want context.Canceled", err)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLoadGeneratorThatFails(t *testing.T) {
	_, _, err := load(t.Context(), "sh", []string{"-c", "echo no route >&2; exit 1"})
	if !errors.Is(err, errLoad) || !strings.Contains(err.Error(), "no route") {
		t.Errorf("err = %v, want errLoad with what it said", err)
	}
}
