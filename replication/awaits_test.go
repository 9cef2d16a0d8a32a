package replication

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"geogate/replication/policy"
)

func TestFramesCountAsAwaitedForAWhile(t *testing.T) {
	began := time.Now()
	a := newAwaits(began)
	if !a.quiet(began) {
		t.Error("nobody has ever waited, and it is not quiet")
	}
	a.note(began)
	for after, quiet := range map[time.Duration]bool{0: false, awaitedFor: false, awaitedFor + time.Millisecond: true} {
		if a.quiet(began.Add(after)) != quiet {
			t.Errorf("%s after a wait: quiet is %t", after, !quiet)
		}
	}
}

func TestAnAwaitedFrameEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUrgency()
		paused := func(during func()) time.Duration {
			begin := time.Now()
			if during != nil {
				go during()
			}
			u.pause(t.Context(), time.Hour)
			return time.Since(begin)
		}
		if d := paused(nil); d != 0 {
			t.Errorf("before any frame: paused %s", d)
		}
		u.note(true)
		if d := paused(nil); d != time.Hour {
			t.Errorf("behind an unawaited frame: paused %s", d)
		}
		if d := paused(func() { time.Sleep(time.Second); u.note(false) }); d != time.Second {
			t.Errorf("an awaited frame after a second: paused %s", d)
		}
		if d := paused(nil); d != 0 {
			t.Errorf("behind an awaited frame: paused %s", d)
		}
		u.note(true)
		u.note(false)
		u.note(true) // what has roused is of a pause before
		if d := paused(nil); d != time.Hour {
			t.Errorf("behind the next unawaited frame: paused %s", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if u.pause(ctx, time.Hour); time.Since(begin) != time.Minute {
			t.Errorf("paused %s beyond its context", time.Since(begin))
		}
	})
}

// TestUnawaitedFramesShareAcks has no time in it: an ack that nobody waits for comes after an hour.
func TestUnawaitedFramesShareAcks(t *testing.T) {
	c := newCluster(t, func(cfg *Config) {
		cfg.UnawaitedAckInterval, cfg.HeartbeatInterval = time.Hour, time.Hour
		cfg.Health.SuspectAfter, cfg.Health.DownAfter = 3*time.Hour, 4*time.Hour
		cfg.Health.StallAfter, cfg.Health.StallDownAfter = 3*time.Hour, 4*time.Hour
		cfg.PullHeartbeat, cfg.PullExpiry, cfg.StallAfter = time.Minute, 4*time.Minute, time.Minute // one link, however busy the machine
	}, "a", "b")
	a := c.engine("a")
	acked := func() int64 {
		revision, _ := a.current.Load().tracker.Acked("b")
		return revision
	}
	eventually(t, 20*time.Second, "the ack that the link begins with", func() bool {
		_, known := a.current.Load().tracker.Acked("b")
		return known
	})
	first := c.dcs["a"].write(t, []byte("v"))
	eventually(t, 20*time.Second, "the first ack, for which there was no reason to wait", func() bool { return acked() == first })
	for range 50 {
		c.dcs["a"].write(t, []byte("v"))
	}
	c.settle(20 * time.Second)
	if got := acked(); got != first {
		t.Errorf("b has confirmed %d, want %d: nothing more before the hour is over", got, first)
	}
	if _, err := a.Admit(policy.All); err != nil {
		t.Fatal(err)
	}
	last := c.dcs["a"].write(t, []byte("v"))
	if _, err := a.Wait(within(t, 20*time.Second), last, policy.All); err != nil {
		t.Fatal(err)
	}
	c.dcs["a"].write(t, []byte("v"))
	last = c.dcs["a"].write(t, []byte("v"))
	eventually(t, 20*time.Second, "acks of what comes soon after a wait", func() bool { return acked() == last })
}

// TestAWriteThatWaitsEndsThePause: frames gather only while no write waits.
func TestAWriteThatWaitsEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAwaits(time.Now())
		begin := time.Now()
		a.pause(t.Context(), time.Second)
		if d := time.Since(begin); d != time.Second {
			t.Errorf("a pause of 1 s with nobody waiting took %s", d)
		}
		go func() {
			time.Sleep(300 * time.Millisecond)
			a.note(time.Now())
		}()
		begin = time.Now()
		a.pause(t.Context(), time.Hour)
		if d := time.Since(begin); d != 300*time.Millisecond {
			t.Errorf("the pause ended after %s, the write began to wait after 300 ms", d)
		}
		if a.pause(t.Context(), -1); a.quiet(time.Now()) {
			t.Error("quiet right after a write waited")
		}
	})
}
