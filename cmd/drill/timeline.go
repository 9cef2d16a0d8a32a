package drill

import (
	"slices"
	"time"
)

// bucket is the resolution of a timeline.
const bucket = 500 * time.Millisecond

// maxSamples bounds the latencies that are kept of one bucket; later ones count for the greatest only.
const maxSamples = 2048

// Point is what happened at one datacenter's endpoint in half a second.
type Point struct {
	At           float64  `json:"at_seconds"` // its beginning, since the load began
	DC           string   `json:"dc"`
	Acknowledged int      `json:"acknowledged"`
	Failed       int      `json:"failed"`
	P50          *float64 `json:"latency_p50_ms"` // of the acknowledged writes; null when there was none
	Max          *float64 `json:"latency_max_ms"`
	Stale        *float64 `json:"stale_ms"` // the greatest age of a read; null when nothing was read
}

// timeline counts in buckets. Only the newest bucket of a datacenter has samples; the caller locks.
type timeline struct {
	dcs  []string
	rows [][]cell // by bucket and datacenter
}

type cell struct {
	acked, failed int
	samples       []time.Duration // until it is closed
	p50, max      time.Duration
	stale         time.Duration
	read          bool
}

func (t *timeline) at(since time.Duration, dc int) *cell {
	i := max(0, int(since/bucket))
	for len(t.rows) <= i {
		if n := len(t.rows); n > 1 { // stragglers come within one bucket
			t.close(n - 2)
		}
		t.rows = append(t.rows, make([]cell, len(t.dcs)))
	}
	return &t.rows[i][dc]
}

func (t *timeline) acked(since time.Duration, dc int, took time.Duration) {
	c := t.at(since, dc)
	c.acked++
	c.max = max(c.max, took)
	if len(c.samples) < maxSamples {
		c.samples = append(c.samples, took)
	}
}

func (t *timeline) failed(since time.Duration, dc int) { t.at(since, dc).failed++ }

func (t *timeline) stale(since time.Duration, dc int, age time.Duration) {
	c := t.at(since, dc)
	c.read, c.stale = true, max(c.stale, age)
}

func (t *timeline) close(row int) {
	for i := range t.rows[row] {
		c := &t.rows[row][i]
		if n := len(c.samples); n > 0 && c.p50 == 0 {
			slices.Sort(c.samples)
			c.p50 = c.samples[n/2]
		}
		c.samples = nil
	}
}

// points closes all buckets. Those in which an endpoint did nothing are there too: nothing happened is a figure.
func (t *timeline) points() []Point {
	for i := range t.rows {
		t.close(i)
	}
	out := make([]Point, 0, len(t.rows)*len(t.dcs))
	for i, row := range t.rows {
		for d := range row {
			c := &row[d]
			p := Point{At: (time.Duration(i) * bucket).Seconds(), DC: t.dcs[d], Acknowledged: c.acked, Failed: c.failed}
			if c.acked > 0 {
				p.P50, p.Max = millis(c.p50), millis(c.max)
			}
			if c.read {
				p.Stale = millis(c.stale)
			}
			out = append(out, p)
		}
	}
	return out
}

func millis(d time.Duration) *float64 {
	ms := float64(d.Microseconds()) / 1000
	return &ms
}
