package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"geogate/cmd/drill"
)

func TestDrillCommands(t *testing.T) {
	dir := t.TempDir()
	if code, out, _ := geogate(t, "dr", "drill", "list", "--dir", dir, "-o", "json"); code != exitDone || !strings.Contains(out, `"last_successful_drill_age_seconds": null`) {
		t.Errorf("list of nothing: exit %d, %s", code, out)
	}
	r := &drill.Report{ID: "20260102T030405-mine-abcd", Scenario: "mine", Cluster: "shop", Passed: true, Started: time.Now().Add(-time.Minute), Ended: time.Now(), Datacenters: []string{"a"}}
	if _, err := (drill.Folder{Dir: dir}).Save(r); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "page.html")
	for _, c := range []struct {
		args []string
		code int
		want string // in either output
	}{
		{[]string{"list", "--dir", dir}, exitDone, "20260102T030405-mine-abcd"},
		{[]string{"show", "last", "--dir", dir}, exitDone, "passed"},
		{[]string{"show", r.ID, "--dir", dir, "--html", page}, exitDone, ""},
		{[]string{"show", "nothing", "--dir", dir}, exitFailed, "`geogate dr drill list` lists them"},
		{[]string{"scenario"}, exitDone, "switchover-and-back"},
		{[]string{"scenario", "cut-link"}, exitDone, "name: cut-link"},
		{[]string{"scenario", "nothing"}, exitUsage, "built in are: cut-link"},
		{[]string{"run"}, exitUsage, "wants NAME|FILE"},
		{[]string{"run", "nothing"}, exitUsage, "it is no file, and built in are"},
		{[]string{"run", "cut-link", "--dev", dir}, exitFailed, "for another cluster give --config"},
		{[]string{"run", "cut-link", "--dev", dir, "--config", "x"}, exitUsage, "give one of them"},
	} {
		code, out, errs := geogate(t, append([]string{"dr", "drill"}, c.args...)...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%v: exit %d, %q, %q; want %d and %q", c.args, code, out, errs, c.code, c.want)
		}
	}
	if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), "</html>") {
		t.Errorf("the page: %.100q, %v", b, err)
	}
}

func TestDrillIsRefusedWithoutADevCluster(t *testing.T) {
	file := filepath.Join(t.TempDir(), "geogate.yaml")
	if code, out, errs := geogate(t, "config", "keys", "--dir", filepath.Dir(file), "a", "b"); code != exitDone {
		t.Fatalf("keys: %s %s", out, errs)
	} else if err := os.WriteFile(file, []byte(twoDatacenters(out)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := geogate(t, "dr", "drill", "run", "lose-dc", "--config", file)
	if code != exitFailed || !strings.Contains(errs, `steps[1] of scenario lose-dc is "kill $last", which only `+"`geogate dev` can do") {
		t.Errorf("exit %d, %s", code, errs)
	}
	code, _, errs = geogate(t, "dr", "drill", "run", "switchover-and-back", "--config", file)
	if code != exitFailed || !strings.Contains(errs, "add a canary to the topology: {prefix: /geogate.drill/, mode: single-writer, home: a}") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// twoDatacenters is a topology with the keys that `config keys` printed.
func twoDatacenters(printed string) string {
	var keys []string
	for word := range strings.FieldsSeq(printed) {
		if len(word) == 56 && word[0] == 'U' {
			keys = append(keys, word)
		}
	}
	node := func(p string) string {
		return "[{name: n0, client: '127.0.0.1:" + p + "0', raft: '127.0.0.1:" + p + "1', admin: '127.0.0.1:" + p + "2', nats: '127.0.0.1:" + p + "3', dir: d" + p + "}]"
	}
	return "cluster: x\ndatacenters:\n" +
		"  - {name: a, public_key: " + keys[0] + ", key_file: a.seed, nodes: " + node("2000") + "}\n" +
		"  - {name: b, public_key: " + keys[1] + ", key_file: b.seed, nodes: " + node("2001") + "}\n"
}

func TestDRStatusShowsTheLastDrill(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"dc": "a", "node": "n0", "keyspaces": []}`))
	}))
	defer srv.Close()
	dir, endpoint := t.TempDir(), strings.TrimPrefix(srv.URL, "http://")
	if _, out, _ := geogate(t, "dr", "status", "--endpoint", endpoint, "--dir", dir); strings.Contains(out, "last drill") {
		t.Errorf("there was none: %s", out)
	}
	r := &drill.Report{ID: "20260102T030405-mine-abcd", Scenario: "mine", Cluster: "shop", Started: time.Unix(0, 0)}
	if _, err := (drill.Folder{Dir: dir}).Save(r); err != nil {
		t.Fatal(err)
	}
	if _, out, errs := geogate(t, "dr", "status", "--endpoint", endpoint, "--dir", dir); !strings.Contains(out, "last drill: mine of shop, 1970-01-01T00:00:00Z: FAILED, 20") ||
		!strings.Contains(out, " days ago; none has passed") {
		t.Errorf("printed %s %s", out, errs)
	}
	_, out, _ := geogate(t, "dr", "status", "--endpoint", endpoint, "--dir", dir, "-o", "json")
	var got struct {
		DC   string `json:"dc"`
		Last struct {
			ID string `json:"id"`
		} `json:"last_drill"`
		Age        *float64  `json:"last_drill_age_seconds"`
		Passed     *float64  `json:"last_successful_drill_age_seconds"`
		Quarantine *struct{} `json:"quarantine"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.DC != "a" || got.Last.ID != r.ID || got.Age == nil || *got.Age < 1e9 || got.Passed != nil {
		t.Errorf("%v: %s", err, out)
	}
}
