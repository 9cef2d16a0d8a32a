package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"geogate/configs"
)

// geogate runs one command line in this process.
func geogate(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsageErrors(t *testing.T) {
	dir := t.TempDir()
	for line, want := range map[string]string{
		"stauts":                                    `unknown command "stauts" for "geogate", did you mean status?`,
		"dev lnk":                                   `unknown command "lnk" for "geogate dev", did you mean link?`,
		"config chek":                               `unknown command "chek" for "geogate config", did you mean check?`,
		"bench delete":                              `unknown command "delete" for "geogate bench"`,
		"status extra":                              "geogate status takes no argument, found extra",
		"status --colour":                           "unknown flag: --colour",
		"status -o xml":                             `"xml" is no output format, want table or json`,
		"lag --interval 0s":                         "--interval is 0s, want more than 0",
		"serve":                                     "serve needs a topology: give --config FILE or set GEOGATE_CONFIG",
		"dev --nodes 2 --dir " + dir:                "asked for 2 nodes in each datacenter, want 1, 3 or 5",
		"dev --nodes 0 --dir " + dir:                "--nodes is 0, want 1, 3 or 5",
		"dev --dcs= --dir " + dir:                   "--dcs names no datacenter",
		"dev --dcs a,B --dir " + dir:                `"B" is not a valid name`,
		"dev --rtt fast":                            `invalid argument "fast" for "--rtt"`,
		"dev --rtt -1s --dir " + dir:                "round trip time is -1s",
		"dev link a b":                              "geogate dev link wants A B CHANGE..., found 2 arguments",
		"dev link a b snip":                         `"snip" is no change of a link; use cut, heal, rtt=60ms or bandwidth=10MB`,
		"dev dc a pause":                            `"pause" is nothing to do to a datacenter; use stop, kill or start`,
		"dev dc a":                                  "geogate dev dc wants NAME stop|kill|start, found 1 arguments",
		"config check":                              "geogate config check wants FILE, found 0 arguments",
		"config keys --dir " + dir + " a A_":        `"A_" can't name a datacenter`,
		"config keys --dir " + dir + " a a":         "a is there twice",
		"bench put --clients 0":                     "--clients is 0, want 1 or more",
		"bench put --total -5":                      "must not be negative",
		"bench put --policy SOME":                   `--policy is "SOME", want ALL, QUORUM, ANY or ASYNC`,
		"bench txn --policy SOME":                   `--policy is "SOME", want ALL, QUORUM, ANY or ASYNC`,
		"bench txn --serializable":                  "unknown flag: --serializable",
		"bench get --policy ALL":                    "unknown flag: --policy",
		"bench put --endpoints= --clients 1":        "no endpoint",
		"bench put --value-bytes many":              `invalid argument "many" for "--value-bytes"`,
		"serve --config x.yaml --dc a b":            "geogate serve takes no argument, found b",
		"version -o":                                "flag needs an argument",
		"dev link a b rtt=soon --dir " + dir:        `the round trip time "soon" is not a duration such as 60ms`,
		"dev link a b bandwidth=x cut --dir " + dir: "the bandwidth per second",
	} {
		code, out, errs := geogate(t, strings.Fields(line)...)
		if code != exitUsage || !strings.Contains(errs, want) || !strings.HasPrefix(errs, "geogate: ") || out != "" {
			t.Errorf("%s: exit %d, %q, %q; want exit 2 and %q", line, code, out, errs, want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, line := range []string{"", "help", "--help", "config", "bench", "dev --help"} {
		code, out, errs := geogate(t, strings.Fields(line)...)
		if code != exitDone || !strings.Contains(out, "Usage:") || errs != "" {
			t.Errorf("%q: exit %d, %q, %q; want help", line, code, out, errs)
		}
	}
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	for line, want := range map[string]string{
		"status --endpoint 127.0.0.1:1":                     "nothing listens at 127.0.0.1:1; give --endpoint the admin address of a running node",
		"lag --endpoint localhost":                          `the endpoint "localhost" is not host:port`,
		"dev link a b cut --dir " + dir:                     "no dev cluster runs in " + dir + "; start one with `geogate dev --dir " + dir + "`",
		"dev dc a stop --dir " + dir:                        "no dev cluster runs in " + dir,
		"serve --config " + filepath.Join(dir, "none"):      "read the topology: open " + filepath.Join(dir, "none") + ": no such file",
		"config check " + filepath.Join(dir, "none"):        "no such file",
		"bench put --endpoints 127.0.0.1:1 --timeout 200ms": "no answer from 127.0.0.1:1; is it the client address of a running node?",
	} {
		code, out, errs := geogate(t, strings.Fields(line)...)
		if code != exitFailed || !strings.Contains(errs, want) || out != "" {
			t.Errorf("%s: exit %d, %q, %q; want exit 1 and %q", line, code, out, errs, want)
		}
	}
}

func TestStatusAndLag(t *testing.T) {
	const answer = `{"dc":"a","node":"n0","leader":"n0","term":1,"revision":9,"vector":{"a":9},"peers":[{"dc":"b","health":"healthy","reason":"","lag_txns":4}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer s.Close()
	at := s.Listener.Addr().String()

	if code, out, errs := geogate(t, "status", "--endpoint", at); code != exitDone || !strings.Contains(out, "LEADER") || !strings.Contains(out, "healthy") {
		t.Errorf("status: exit %d, %q, %q", code, out, errs)
	}
	code, out, errs := geogate(t, "lag", "--endpoint", at)
	if code != exitDone || strings.Contains(out, "LEADER") || !strings.Contains(out, "LAG TXNS") || !strings.Contains(out, "4") {
		t.Errorf("lag: exit %d, %q, %q", code, out, errs)
	}
	for _, cmd := range []string{"status", "lag"} {
		code, out, errs := geogate(t, cmd, "--endpoint", at, "-o", "json")
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(out)); err != nil || code != exitDone || compact.String() != answer {
			t.Errorf("%s -o json: exit %d, %q, %q; want the node's own JSON", cmd, code, out, errs)
		}
	}
}

func TestLagWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++ // requests come one by one
		switch asked {
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 4:
			cancel() // as Ctrl-C
			return
		}
		_, _ = w.Write([]byte(`{"dc":"a","node":"n0","leader":"n0","peers":[]}`))
	}))
	defer s.Close()
	var out, errs bytes.Buffer
	code := run(ctx, []string{"lag", "--watch", "--interval", "1ms", "-o", "json", "--endpoint", s.Listener.Addr().String()}, &out, &errs)
	if code != exitDone || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("exit %d, %q; want two lines of JSON and a clean end", code, out.String())
	}
	if strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), "HTTP 503") {
		t.Errorf("%q; want one line about the answer that failed", errs.String())
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(good, configs.Example, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad, bytes.Replace(configs.Example, []byte("  default: QUORUM\n"), []byte("  default: MOST\n  tmeout: 1s\n"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := geogate(t, "config", "check", good); code != exitDone || !strings.Contains(out, "valid; cluster shop with 2 datacenters and 4 nodes") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	code, out, errs := geogate(t, "config", "check", bad)
	if code != exitFailed || strings.Count(out, bad+":") != 2 || !strings.Contains(errs, "has 2 problems") {
		t.Errorf("exit %d, %q, %q; want both problems", code, out, errs)
	}
	code, out, _ = geogate(t, "config", "check", bad, "-o", "json")
	var v verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitFailed || v.Valid || len(v.Problems) != 2 || v.Problems[0].Line == 0 {
		t.Errorf("exit %d, %+v, %v", code, v, err)
	}
	if code, _, errs := geogate(t, "serve", "--config", bad); code != exitFailed || strings.Count(errs, bad+":") != 2 {
		t.Errorf("serve: exit %d, %q; want both problems", code, errs)
	}
	for line, want := range map[string]string{
		"--dc mars":              `the topology has no datacenter "mars", only us-east, eu-west`,
		"":                       "the topology has the datacenters us-east, eu-west: say which is this one with --dc or GEOGATE_DC",
		"--dc us-east":           "us-east has the nodes n0, n1, n2: say which is this one with --node or GEOGATE_NODE",
		"--dc us-east --node n7": `us-east has no node "n7", only n0, n1, n2`,
	} {
		code, _, errs := geogate(t, append([]string{"serve", "--config", good}, strings.Fields(line)...)...)
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("serve %s: exit %d, %q; want %q", line, code, errs, want)
		}
	}
}

func TestConfigKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	code, out, errs := geogate(t, "config", "keys", "--dir", dir, "a", "b")
	if code != exitDone {
		t.Fatalf("exit %d, %q", code, errs)
	}
	// What is printed goes into a topology as it is.
	text := "datacenters:\n"
	for i, item := range strings.SplitAfter(strings.TrimSuffix(out, "\n"), ".seed") {
		if item == "" {
			continue
		}
		text += strings.Trim(item, "\n") + "\n    nodes:\n      - {name: n0, client: \"h:1" + strings.Repeat("0", i+1) + "\", raft: \"h:2" + strings.Repeat("0", i+1) +
			"\", admin: \"h:3" + strings.Repeat("0", i+1) + "\", nats: \"h:4" + strings.Repeat("0", i+1) + "\", dir: d" + strings.Repeat("0", i) + "}\n"
	}
	top, err := configs.Parse("printed", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for i := range top.Datacenters {
		if _, err := top.Datacenters[i].LoadKey(); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "a.seed")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("seed: %v, %v", info, err)
	}
	code, out, errs = geogate(t, "config", "keys", "--dir", dir, "-o", "json", "c", "a")
	if code != exitFailed || !strings.Contains(errs, "a.seed exists and may be in use") || !strings.Contains(out, `"name": "c"`) {
		t.Errorf("exit %d, %q, %q; want the new key printed and the old one kept", code, out, errs)
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := geogate(t, "version", "-o", "json")
	var b buildInfo
	if err := json.Unmarshal([]byte(out), &b); err != nil || code != exitDone || b.Version == "" || b.Go == "" {
		t.Errorf("exit %d, %q, %v", code, out, err)
	}
}
