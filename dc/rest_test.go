package dc

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"geogate/test/wakeups"
)

// TestLeaderSleepsWhileNothingIsWritten is about what a node does beside consensus. A lease is what there may be to
// do, and once it has gone there is nothing again.
func TestLeaderSleepsWhileNothingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, "a")
		defer r.lead(2)()
		ctx, cancel := context.WithCancel(context.Background())
		var taking sync.WaitGroup
		taking.Go(func() { r.takeBackRest(ctx) })
		defer taking.Wait()
		defer cancel()
		for i := range int64(3) {
			if n := wakeups.During(func() { time.Sleep(time.Hour) }); n > 100 {
				t.Fatalf("about %d wake-ups in an hour", n)
			}
			r.grant(7+i, 5)
			r.must(kindPut, leased("k", 7+i))
			time.Sleep(5*time.Second + r.cfg.electionTimeout() + 2*lessorRound)
			synctest.Wait()
			if r.has("k") {
				t.Fatal("the lease has ended and its key is still there")
			}
		}
	})
}
