package drill

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"geogate/replication/policy"
)

// write is an acknowledged one: a put of a key that is written once, or with counter set one that raised a counter.
type write struct {
	dc, writer, seq int
	made            int64 // its value
	counter         bool
	origin          string
	revision        int64
	alone           bool // acknowledged by its origin alone
	risked          bool
}

// tally is what is known of a counter that is only raised by compare-and-put.
type tally struct {
	acked map[int64]bool // values that an acknowledged write gave it
	twice []int64        // values that two acknowledged writes gave it: one of them is lost
}

// book is all that the probes have seen. It is safe for concurrent use.
type book struct {
	dcs    []string
	prefix string // of the drill's keys
	single bool   // the keyspace has one home at a time
	start  time.Time

	mu       sync.Mutex
	gauges   []*gauge // by datacenter
	writes   []write
	attempts []attempt
	counters map[string]*tally
	beats    map[[2]int]*beats // by datacenter and writer
	faults   []*fault
	stale    []time.Duration  // by datacenter, the greatest age seen
	heads    map[string]int64 // by origin, the highest revision acknowledged
	last     string           // origin of the newest acknowledged write
	line     timeline
}

func newBook(dcs []string, prefix string, single bool, start time.Time) *book {
	b := &book{
		dcs: dcs, prefix: prefix, single: single, start: start, counters: map[string]*tally{}, beats: map[[2]int]*beats{},
		heads: map[string]int64{}, stale: make([]time.Duration, len(dcs)), line: timeline{dcs: dcs},
	}
	for range dcs {
		b.gauges = append(b.gauges, newGauge(start))
	}
	return b
}

// outcome is how one write ended.
type outcome struct {
	dc         int // whose endpoint it was
	began, now time.Time
	token      policy.Token
	ackedBy    []string
}

func (b *book) ackedLocked(o outcome) {
	b.gauges[o.dc].acked(o.now)
	b.attempts = append(b.attempts, attempt{o.began, o.now, o.dc, o.token.Origin})
	b.heads[o.token.Origin] = max(b.heads[o.token.Origin], o.token.Revision)
	b.last = o.token.Origin
	b.line.acked(o.now.Sub(b.start), o.dc, o.now.Sub(o.began))
}

// put tells of an acknowledged put of a writer's next key.
func (b *book) put(o outcome, writer, seq int, made int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ackedLocked(o)
	b.writes = append(b.writes, write{
		dc: o.dc, writer: writer, seq: seq, made: made, origin: o.token.Origin, revision: o.token.Revision, alone: len(o.ackedBy) <= 1,
	})
	at := [2]int{o.dc, writer}
	if b.beats[at] == nil {
		b.beats[at] = &beats{}
	}
	b.beats[at].add(beat{made, o.now})
}

// raised tells of an acknowledged write that gave a counter a value.
func (b *book) raised(o outcome, counter string, value int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ackedLocked(o)
	b.writes = append(b.writes, write{counter: true, origin: o.token.Origin, revision: o.token.Revision, alone: len(o.ackedBy) <= 1})
	t := b.counters[counter]
	if t == nil {
		t = &tally{acked: map[int64]bool{}}
		b.counters[counter] = t
	}
	if t.acked[value] {
		t.twice = append(t.twice, value)
	}
	t.acked[value] = true
}

// failed tells of a write that failed, or whose outcome is unknown.
func (b *book) failed(o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gauges[o.dc]
	g.fail(o.began)
	b.attempts = append(b.attempts, attempt{began: o.began, now: o.now, dc: o.dc})
	b.line.failed(o.now.Sub(b.start), o.dc)
}

// saw tells what a reader in a datacenter has read: for each writer of the others the newest value there.
func (b *book) saw(dc int, now time.Time, newest map[[2]int]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	worst := time.Duration(0)
	for at, ring := range b.beats {
		if at[0] != dc {
			worst = max(worst, ring.age(newest[at], now))
		}
	}
	b.stale[dc] = max(b.stale[dc], worst) // also of a datacenter that has just come back: it answers
	b.line.stale(now.Sub(b.start), dc, worst)
}

// begin tells of a fault, from now on.
func (b *book) begin(f *fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.single {
		f.home = b.last
	}
	b.faults = append(b.faults, f)
}

// health tells what a datacenter thinks of another one.
func (b *book) health(now time.Time, observer, subject, state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		f.health(now, observer, subject, state)
	}
}

// undetected is what the last fault that should be noticed was, if it was not.
func (b *book) undetected() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range slices.Backward(b.faults) {
		if f.sees != nil {
			if f.detected.IsZero() {
				return f.what
			}
			return ""
		}
	}
	return ""
}

// risk marks the writes of an origin that nobody else is known to have: those above a revision.
func (b *book) risk(origin string, confirmed int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.writes {
		if w := &b.writes[i]; w.origin == origin && w.alone && w.revision > confirmed {
			w.risked = true
		}
	}
}

// excuse and resume bracket the time in which the drill has a datacenter down.
func (b *book) excuse(dc string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gauges[slices.Index(b.dcs, dc)].excuse(now)
}

func (b *book) resume(dc string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gauges[slices.Index(b.dcs, dc)].resume()
}

// worst are the longest pause and error window of all endpoints until now.
func (b *book) worst(now time.Time) (pause, window time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.gauges {
		g.look(now)
		pause, window = max(pause, g.pause), max(window, g.window)
	}
	return pause, window
}

// head is by origin the highest revision acknowledged.
func (b *book) head() map[string]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.heads)
}

// Keys of the probes, below the prefix of the drill.

func (b *book) key(dc, writer, seq int) string {
	return fmt.Sprintf("%sw/%s/%02d/%08d", b.prefix, b.dcs[dc], writer, seq)
}

func (b *book) beatKey(dc, writer int) string {
	return fmt.Sprintf("%sbeat/%s/%02d", b.prefix, b.dcs[dc], writer)
}

// counterKey is one for all in a keyspace with one home, where it would show two homes; else each writer has its own.
func (b *book) counterKey(dc, writer int) string {
	if b.single {
		return b.prefix + "counter/all"
	}
	return fmt.Sprintf("%scounter/%s/%02d", b.prefix, b.dcs[dc], writer)
}
