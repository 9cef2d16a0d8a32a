package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGrowthIsMeasured(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts geogate datacenters")
	}
	c := short(t, sideGeogate)
	c.Geogate = buildGeogate(t)
	c.Growth, c.Duration = true, 50*time.Millisecond
	c.GrowthKeys, c.GrowthDCs, c.GrowthNodes, c.GrowthValues = []int{50}, []int{2}, []int{1}, []int{64 << 10}
	dir := t.TempDir()
	c.JSON, c.Plot = filepath.Join(dir, "report.json"), filepath.Join(dir, "growth.svg")
	var out bytes.Buffer
	if err := run(t.Context(), &c, &out, progressOf(t)); err != nil {
		t.Fatal(err)
	}
	rows := readReport(t, c.JSON).Growth
	if len(rows) != 4 {
		t.Fatalf("%d rows, want 4: %+v", len(rows), rows)
	}
	for _, r := range rows {
		if r.Rate <= 0 || r.P99 < r.P50 || r.RSS < 10<<20 || r.DB <= 0 || r.Errors > 0 {
			t.Errorf("%s %.0f: %+v, want figures above 0 and no error", r.Axis, r.X, r)
		}
	}
	if !strings.Contains(out.String(), "| datacenters | 2 | 1 | 50 | 256 |") {
		t.Errorf("no line of two datacenters in\n%s", out.String())
	}
	if svg, err := os.ReadFile(c.Plot); err != nil || !bytes.Contains(svg, []byte("RSS per node")) || !bytes.Contains(svg, []byte("</svg>")) {
		t.Errorf("no curves in %d bytes of %s: %v", len(svg), c.Plot, err)
	}
	left, err := os.ReadDir(c.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPointsGrowInOneWay: two changes at once would explain nothing.
func TestPointsGrowInOneWay(t *testing.T) {
	c := defaults()
	points := c.points()
	if want := len(c.GrowthKeys) + len(c.GrowthDCs) + len(c.GrowthNodes) + len(c.GrowthValues); len(points) != want {
		t.Fatalf("%d points, want %d", len(points), want)
	}
	for _, p := range points {
		nodes := baseNodes
		if p.Axis == axisDCs {
			nodes = alone
		}
		if p.Axis != axisDCs && p.DCs != baseDCs || p.Axis != axisNodes && p.Nodes != nodes || p.Axis != axisValues && p.ValueBytes != baseValue {
			t.Errorf("%s %.0f: %+v", p.Axis, p.X, p)
		}
		if p.Axis == axisValues && p.Keys*p.ValueBytes > maxFill {
			t.Errorf("%s %.0f: fills %d bytes, want at most %d", p.Axis, p.X, p.Keys*p.ValueBytes, maxFill)
		}
	}
}
