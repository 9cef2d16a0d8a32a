package store_test

import (
	"testing"
	"testing/synctest"
	"time"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
	"geogate/test/wakeups"
)

// TestStoreSleepsWhileNothingIsWritten also shows that each write is flushed in its time, the first one after a rest
// included.
func TestStoreSleepsWhileNothingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newScript(t, func(c *store.Config) { c.FlushInterval = 100 * time.Millisecond })
		storetest.Run(t, x.s)
		for range 3 {
			x.entry("k=v")
			x.entry("k=w")
			time.Sleep(101 * time.Millisecond)
			synctest.Wait()
			if d, a := x.s.Durable().Index, x.s.Applied().Index; d != a {
				t.Fatalf("durable up to %d, applied up to %d, an interval ago", d, a)
			}
			const forgets = 360 // looks in an hour, see forgetInterval
			if n := wakeups.During(func() { time.Sleep(time.Hour) }); n > 3*forgets {
				t.Fatalf("about %d wake-ups in an hour, want %d", n, forgets)
			}
		}
	})
}
