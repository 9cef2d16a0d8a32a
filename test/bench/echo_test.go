package main

import (
	"testing"
	"time"
)

func TestEchoTakesARoundTrip(t *testing.T) {
	const rtt = 30 * time.Millisecond
	begin := time.Now()
	e, err := startEcho(rtt)
	if err != nil {
		t.Fatal(err)
	}
	all := func() span { return span{begin, time.Now()} }
	late := time.After(meetTimeout)
	for p50 := 0.0; p50 == 0; p50, _ = e.during(all()) {
		select {
		case <-late:
			t.Fatal("nothing came back")
		case <-time.After(rtt):
		}
	}
	e.Close()
	if p50, p99 := e.during(all()); p50 < milliseconds(rtt) || p99 < p50 {
		t.Errorf("p50 %.2f ms and p99 %.2f ms of %s", p50, p99, rtt)
	}
	if n := len(e.trips); n > int(time.Since(begin)/rtt) {
		t.Errorf("%d round trips of %s in %s: more than one at a time", n, rtt, time.Since(begin))
	}
}

// TestEchoCountsWhatIsWithin has round trips before a measurement, at both of its ends, during and after it.
func TestEchoCountsWhatIsWithin(t *testing.T) {
	begin := time.Now()
	between := func(from, to int) span {
		return span{begin.Add(time.Duration(from) * time.Millisecond), begin.Add(time.Duration(to) * time.Millisecond)}
	}
	e := &echo{trips: []span{between(0, 50), between(90, 160), between(160, 230), between(230, 291), between(291, 301), between(400, 500)}}
	if p50, p99 := e.during(between(100, 300)); p50 != 70 || p99 != 70 {
		t.Errorf("p50 %g and p99 %g, want those of 61 and 70", p50, p99)
	}
	if p50, p99 := e.during(between(301, 399)); p50 != 0 || p99 != 0 {
		t.Errorf("p50 %g and p99 %g of nothing", p50, p99)
	}
}
