package drill

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func save(t *testing.T, f Folder, id, scenario string, passed bool, ended time.Time) {
	t.Helper()
	rto, lost := 1.5, 0
	r := &Report{ID: id, Scenario: scenario, Cluster: "shop", Passed: passed, Started: ended.Add(-10 * time.Second), Ended: ended, RTO: &rto, AcknowledgedLost: &lost, WritePause: 0.25}
	if _, err := f.Save(r); err != nil {
		t.Fatal(err)
	}
}

func TestFolderListsAndBoundsReports(t *testing.T) {
	f := Folder{Dir: filepath.Join(t.TempDir(), "new", "drills"), Reports: 3}
	l, err := f.List(t0)
	if err != nil || len(l.Drills) != 0 || l.LastSuccess != nil {
		t.Fatalf("an empty folder lists %+v, %v", l, err)
	}
	if _, err := f.Load("last"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the last of none: %v", err)
	}
	save(t, f, "20260101T000000-a", "a", true, t0)
	save(t, f, "20260102T000000-a", "a", true, t0.Add(time.Hour))
	save(t, f, "20260103T000000-b", "b", true, t0.Add(2*time.Hour))
	save(t, f, "20260104T000000-a", "a", false, t0.Add(3*time.Hour))
	l, err = f.List(t0.Add(4 * time.Hour))
	if err != nil || len(l.Drills) != 3 || l.Drills[0].ID != "20260104T000000-a" || l.Drills[0].Seconds != 10 || *l.LastSuccess != 7200 {
		t.Fatalf("lists %+v, %v", l, err)
	}
	if r, err := f.Load("last"); err != nil || r.ID != "20260104T000000-a" || *r.RTO != 1.5 {
		t.Errorf("the last is %+v, %v", r, err)
	}
	if _, err := f.Load("20260101T000000-a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the oldest is still there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(f.Dir, "0-bad.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.List(t0); err == nil || !strings.Contains(err.Error(), "0-bad.json is not a report of a drill, or damaged; move it away") {
		t.Errorf("a damaged report: %v", err)
	}
}

func TestMetricsFile(t *testing.T) {
	f := Folder{Dir: t.TempDir()}
	save(t, f, "1", "a", true, t0)
	save(t, f, "2", "a", false, t0.Add(time.Hour))
	save(t, f, "3", "b", false, t0)
	path := filepath.Join(t.TempDir(), "geogate_drill.prom")
	if err := f.WriteMetrics(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{
		`geogate_drill_last_success_timestamp_seconds{cluster="shop",scenario="a"} 1.8e+09`,
		`geogate_drill_last_run_timestamp_seconds{cluster="shop",scenario="a"} 1.8000036e+09`,
		`geogate_drill_last_passed{cluster="shop",scenario="a"} 0`,
		`geogate_drill_last_rto_seconds{cluster="shop",scenario="b"} 1.5`,
		`geogate_drill_last_write_pause_seconds{cluster="shop",scenario="a"} 0.25`,
		`geogate_drill_last_acknowledged_lost{cluster="shop",scenario="a"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, `success_timestamp_seconds{cluster="shop",scenario="b"}`) || strings.Contains(text, "detect_seconds{") {
		t.Errorf("what is not known is there:\n%s", text)
	}
}
