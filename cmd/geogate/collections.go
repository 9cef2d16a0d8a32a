package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	// leastGarbage is how many bytes are allocated at least from one garbage collection to the next. Go's own rule is as many
	// as are in use; a node with little data in memory would collect all the time, which took a tenth of its CPU.
	leastGarbage = 12 << 20
	// Go's own rule, and the most that is made of it.
	usualPercent, mostPercent = 100, 800
)

// collections spaces a process's garbage collections.
type collections struct {
	percent int // last set
	ended   atomic.Bool
}

// spaceCollections works until end is called, unless GOGC says how collections are to be spaced.
func spaceCollections() (end func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	c := &collections{percent: usualPercent}
	c.await()
	return func() { c.ended.Store(true) }
}

// await has collected called after the next collection, which finds what nobody refers to any more.
func (c *collections) await() {
	type found struct{ pointer *int }
	runtime.AddCleanup(&found{new(int)}, (*collections).collected, c)
}

func (c *collections) collected() {
	if c.ended.Load() {
		return
	}
	if p := percentOf(inUse()); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
	c.await()
}

// inUse is what Go takes the percentage of, as of the last collection.
func inUse() (bytes uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			bytes += s.Value.Uint64()
		}
	}
	return bytes
}

// percentOf is the percentage, in steps of 20, that comes to leastGarbage.
func percentOf(inUse uint64) int {
	p := 100 * leastGarbage / max(inUse, 1)
	return int(min(max(p-p%20, usualPercent), mostPercent))
}
