package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what a run measured. Latencies are those of the requests that succeeded, in milliseconds, as
// the clients saw them.
type Result struct {
	Op          Op      `json:"op"`
	Clients     int     `json:"clients"`
	Connections int     `json:"connections"`
	ValueBytes  int     `json:"value_bytes"`
	Policy      string  `json:"policy,omitempty"` // as asked for
	Total       int64   `json:"total"`            // requests answered, well or not
	Errors      int64   `json:"errors"`
	FirstError  string  `json:"first_error,omitempty"`
	Seconds     float64 `json:"seconds"`
	Rate        float64 `json:"rate"` // successes per second
	P50         float64 `json:"p50_ms"`
	P90         float64 `json:"p90_ms"`
	P99         float64 `json:"p99_ms"`
	P999        float64 `json:"p99_9_ms"`
	Max         float64 `json:"max_ms"`
	Mean        float64 `json:"mean_ms"`
}

// tally is what one client saw. Its goroutine owns it until the run is over.
type tally struct {
	latency *hdrhistogram.Histogram // microseconds
	errors  int64
	first   error
}

func newTally() *tally {
	return &tally{latency: hdrhistogram.New(1, time.Hour.Microseconds(), 3)}
}

func (t *tally) add(d time.Duration, err error) {
	if err != nil {
		t.errors++
		if t.first == nil {
			t.first = err
		}
		return
	}
	// Within an hour by the request timeout; the error is for values out of range.
	_ = t.latency.RecordValue(min(max(d.Microseconds(), 1), time.Hour.Microseconds()))
}

func summarize(c *Config, tallies []*tally, elapsed time.Duration) Result {
	all := newTally()
	for _, t := range tallies {
		all.latency.Merge(t.latency)
		all.errors += t.errors
		if all.first == nil {
			all.first = t.first
		}
	}
	ms := func(us int64) float64 { return float64(us) / 1000 }
	h := all.latency
	r := Result{
		Op: c.Op, Clients: c.Clients, Connections: c.connections(), ValueBytes: c.ValueBytes, Policy: c.Policy,
		Total: h.TotalCount() + all.errors, Errors: all.errors, Seconds: elapsed.Seconds(),
		P50: ms(h.ValueAtQuantile(50)), P90: ms(h.ValueAtQuantile(90)), P99: ms(h.ValueAtQuantile(99)),
		P999: ms(h.ValueAtQuantile(99.9)), Max: ms(h.Max()), Mean: h.Mean() / 1000,
	}
	if elapsed > 0 {
		r.Rate = float64(h.TotalCount()) / elapsed.Seconds()
	}
	if all.first != nil {
		r.FirstError = all.first.Error()
	}
	return r
}

// Write prints the result for people.
func (r *Result) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(tw, "OP\tCLIENTS\tTOTAL\tERRORS\tSECONDS\tRATE/S\tP50 ms\tP90 ms\tP99 ms\tP99.9 ms\tMAX ms\t")
	_, _ = fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%.2f\t%.0f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t\n",
		r.Op, r.Clients, r.Total, r.Errors, r.Seconds, r.Rate, r.P50, r.P90, r.P99, r.P999, r.Max)
	if err := tw.Flush(); err != nil {
		return err
	}
	if r.FirstError != "" {
		_, err := fmt.Fprintf(w, "first error: %s\n", r.FirstError)
		return err
	}
	return nil
}
