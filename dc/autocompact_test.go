package dc

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// schedule shows when a compactor compacts, with ten revisions a minute.
func schedule(c *compactor, length time.Duration) (out string) {
	for now := c.interval(); now <= length; now += c.interval() {
		if at := c.tick(int64(now / (6 * time.Second))); at != 0 {
			out += fmt.Sprintf("%s:%d ", now, at)
			c.done(at)
		}
	}
	return out
}

func TestWhenHistoryIsCompacted(t *testing.T) {
	for _, c := range []struct {
		of     Compaction
		length time.Duration
		want   string
	}{
		{Compaction{Period: 10 * time.Minute}, 35 * time.Minute, "11m0s:10 21m0s:110 31m0s:210 "},
		{Compaction{Period: time.Hour}, 4 * time.Hour, "1h6m0s:60 2h6m0s:660 3h6m0s:1260 "},
		{Compaction{Period: 3 * time.Hour}, 6 * time.Hour, "3h6m0s:60 4h6m0s:660 5h6m0s:1260 "},
		{Compaction{Revisions: 100}, 20 * time.Minute, "15m0s:50 20m0s:100 "},
	} {
		if got := schedule(&compactor{Compaction: c.of}, c.length); got != c.want {
			t.Errorf("%+v: %q, want %q", c.of, got, c.want)
		}
	}
}

// While nothing is written nothing is compacted, and a failed compaction is tried again with the next sample.
func TestCompactionOfNothingNew(t *testing.T) {
	c := compactor{Compaction: Compaction{Period: time.Minute}}
	var first int
	for i := range 20 {
		if c.tick(7) != 0 {
			first = i
			break
		}
	}
	if first != 10 {
		t.Errorf("first compaction at sample %d", first)
	}
	if at := c.tick(7); at != 7 {
		t.Errorf("after a failure: %d", at)
	}
	c.done(7)
	for range 30 {
		if at := c.tick(7); at != 0 {
			t.Errorf("again at %d", at)
		}
	}
	if n := len(c.samples); n != 11 {
		t.Errorf("%d samples are kept", n)
	}
}

func TestOnlyTheLeaderCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, "a")
		for i := range 20 {
			r.put("k", fmt.Sprint(i))
		}
		r.cfg.Compaction = Compaction{Revisions: 5}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.compactAutomatically(ctx)
		}()
		r.LeaderChanged(2, 2, false)
		time.Sleep(compactRevisions + time.Second)
		synctest.Wait()
		r.commitQueued()
		if at := r.store.Compacted(); at != 0 {
			t.Errorf("a follower compacted at %d", at)
		}
		r.LeaderChanged(3, 1, true)
		time.Sleep(compactRevisions)
		synctest.Wait()
		r.commitQueued()
		synctest.Wait()
		if at := r.store.Compacted(); at != 16 {
			t.Errorf("compacted at %d, want 16", at)
		}
		cancel()
		<-done
	})
}
