package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestGeoIsMeasured is the whole of --geo with real processes and little work.
func TestGeoIsMeasured(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three geogate datacenters and two real etcds")
	}
	c := short(t, sideEtcd, sideGeogate)
	c.Geogate = buildGeogate(t)
	c.Geo, c.Nodes, c.RTT, c.QuorumClients, c.Crowd = true, 1, 20*time.Millisecond, []int{2}, 4
	c.CatchUp, c.Idle, c.Duration = 500, 100*time.Millisecond, 200*time.Millisecond
	c.JSON = filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	if err := run(t.Context(), &c, &out, progressOf(t)); err != nil {
		t.Fatal(err)
	}
	rows := readReport(t, c.JSON).Geo
	// Idle, 3 from one datacenter, 3 and their sum at once, 2 lags, 2 of the price, 2 volumes, 3 of catching up, 2 of the mirror.
	if len(rows) != 19 {
		t.Errorf("%d rows, want 19", len(rows))
	}
	for _, r := range rows {
		if r.Errors > 0 {
			t.Errorf("%s, %s: %.0f operations failed", r.Case, r.Side, r.Errors)
		}
		if r.Busy < 0 || r.Busy > 1 || r.Busy == 0 && isOfRates(r) {
			t.Errorf("%s, %s: %g of the machine was busy", r.Case, r.Side, r.Busy)
		}
		if strings.HasPrefix(r.Case, "put QUORUM") && (r.RTTP50 < milliseconds(c.RTT) || r.RTTP99 < r.RTTP50) {
			t.Errorf("%s, %s: measured RTT %.2f ms (p99 %.2f), want at least %s", r.Case, r.Side, r.RTTP50, r.RTTP99, c.RTT)
		}
		switch {
		case strings.HasPrefix(r.Case, "put QUORUM") && r.Side != "all":
			if r.P50 < milliseconds(c.RTT) {
				t.Errorf("%s, %s: p50 %.2f ms, faster than a round trip of %s", r.Case, r.Side, r.P50, c.RTT)
			}
		case strings.Contains(r.Case, "full speed"):
			if r.Rate <= 0 || r.Replicated <= 0 || r.LagP99 < r.LagP50 || r.LagP50 <= 0 {
				t.Errorf("%s: %+v, want a rate, and a lag", r.Case, r)
			}
		case strings.HasSuffix(r.Case, "2 peers") && strings.HasPrefix(r.Case, "put"):
			if r.OfAlone <= 0 || r.PerCPUAll <= 0 || r.PerCPUAll >= r.PerCPU {
				t.Errorf("%s: %+v, want a price, and a higher one of all", r.Case, r)
			}
		case strings.HasPrefix(r.Case, "random"):
			if r.PerByte < 0.9 {
				t.Errorf("%s: %.2f bytes for each byte that can't be compressed", r.Case, r.PerByte)
			}
		}
	}
	if !strings.Contains(out.String(), "| catch-up | dc3 |") {
		t.Errorf("no line of the catch-up in\n%s", out.String())
	}
}

// isOfRates says whether a line needs to be seen beside the machine's CPU.
func isOfRates(r geoRow) bool {
	return strings.HasPrefix(r.Case, "put QUORUM") || strings.Contains(r.Case, "full speed") ||
		strings.HasPrefix(r.Case, "up to") || strings.HasSuffix(r.Case, "peers") && strings.HasPrefix(r.Case, "put")
}

func TestRelayCountsBothWays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c) // an echo, until the other end closes
		_ = c.Close()
	}()
	r, err := openRelay(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", r.Address())
	if err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("geogate"), 10_000)
	go func() { _, _ = c.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("the echo differs: %v", err)
	}
	if n := r.bytes.Load(); n != int64(2*len(sent)) {
		t.Errorf("counted %d bytes, want %d", n, 2*len(sent))
	}
	r.Close()
	if _, err := c.Read(got); err == nil {
		t.Error("the connection outlived its relay")
	}
	_ = c.Close()
}

func TestLagsAreFromTheAnswerToTheWatch(t *testing.T) {
	begin := time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	tr := &tracer{answered: map[int]time.Time{}, seen: map[int]time.Time{}}
	for n := range 100 {
		tr.answered[n], tr.seen[n] = at(n), at(n+10)
	}
	tr.seen[0] = at(-5) // seen before the answer came back
	tr.seen[98] = at(598)
	delete(tr.seen, 99)
	got := tr.summary(1)
	if want := (lags{P50: 10, P99: 500, Markers: 100, Lost: 1, Tail: 499 * time.Millisecond}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestQuantile(t *testing.T) {
	var v []float64
	for i := range 1000 {
		v = append(v, float64(i))
	}
	if a, b, c := quantile(v, 0.5), quantile(v, 0.99), quantile(v, 1); a != 500 || b != 990 || c != 999 {
		t.Errorf("p50 %g, p99 %g, p100 %g", a, b, c)
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}

func TestValuesHaveTheirSize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for range 200 {
		v := jsonValue(r, 256)
		if len(v) != 256 || !json.Valid([]byte(v)) || seen[v] {
			t.Fatalf("%d bytes, valid %t, repeated %t: %s", len(v), json.Valid([]byte(v)), seen[v], v)
		}
		seen[v] = true
	}
	if v := randomValue(r, 333); len(v) != 333 {
		t.Errorf("%d random bytes, want 333", len(v))
	}
}

func TestGeoTableShowsWhatALineHas(t *testing.T) {
	text := geoTable([]geoRow{
		{Case: "put QUORUM", Side: "dc1", Clients: 64, Rate: 1000, P50: 61, P99: 70, OfBound: 0.9375},
		{Case: "put QUORUM", Side: "dc2", Clients: 64, Rate: 1000, P50: 61, P99: 70, OfBound: 0.9375, RTTP50: 60.421, RTTP99: 61.9, Busy: 0.5},
		{Case: "up to", Side: "dc1", Rate: 1000, Busy: 0.97, Steal: 0.02},
		{Case: "JSON", Side: "WAN", PerByte: 0.5},
		{Case: "idle", Side: "dc1", Core: 1.25},
	})
	for _, want := range []string{
		"| put QUORUM | dc1 | 64 | 1000 | 61.00 | 70.00 | - | - | - | 94 % of clients / RTT |",
		"| put QUORUM | dc2 | 64 | 1000 | 61.00 | 70.00 | - | - | - | 94 % of clients / RTT, RTT measured 60.42 ms (p99 61.90); CPU 50 % busy, 0 % stolen |",
		"| up to | dc1 | - | 1000 | - | - | - | - | - | CPU 97 % busy, 2 % stolen |",
		"| JSON | WAN | - | - | - | - | - | - | - | 0.50 bytes per payload byte |",
		"| idle | dc1 | - | - | - | - | - | - | - | 1.2 % of a core |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line\n%s\nin\n%s", want, text)
		}
	}
}

func TestLoadsAtTheSameTimeAreOne(t *testing.T) {
	begin := time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	got := together([]sample{
		{Rate: 100, P99: 7, Busy: 1, Steal: 0.5, loaded: span{at(10), at(100)}},
		{Rate: 200, P99: 8, Busy: 0.5, loaded: span{at(0), at(90)}},
	})
	if want := (sample{Rate: 300, Busy: 0.75, Steal: 0.25, loaded: span{at(0), at(100)}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPeersKnowEachOther(t *testing.T) {
	ports := make([]int, portsPerPeer*3*2)
	for i := range ports {
		ports[i] = 100 + i
	}
	top, err := peers(t.TempDir(), 3, 2, ports)
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, d := range top.Datacenters {
		for _, n := range d.Nodes {
			used = append(used, n.Client, n.Raft, n.Admin, n.NATS)
		}
	}
	if slices.Sort(used); len(slices.Compact(used)) != len(ports) {
		t.Errorf("addresses %v, want %d different ones", used, len(ports))
	}
}
