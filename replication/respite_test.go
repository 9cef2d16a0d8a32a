package replication

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"geogate/replication/event"
	"geogate/replication/homes"
	"geogate/replication/policy"
)

// at is a frame of some size, stamped a while after the start of an origin's life.
func at(t testing.TB, after time.Duration, size int) *event.Sealed {
	t.Helper()
	m := newModel("a")
	m.clock = event.NewClock(func() time.Time { return time.Unix(1_700_000_000, 0).Add(after) })
	m.write(t, make([]byte, size))
	return &m.frames["a"][0]
}

func TestRest(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		share  float64
		worked time.Duration
		passed time.Duration // of the origin's life in the stretch
		want   time.Duration
	}{
		"as long as the work":                {0.5, 20 * time.Millisecond, time.Hour, 20 * time.Millisecond},
		"three times as long":                {0.25, 20 * time.Millisecond, time.Hour, 60 * time.Millisecond},
		"never":                              {1, 20 * time.Millisecond, time.Hour, 0},
		"not for long":                       {0.01, 20 * time.Millisecond, time.Hour, maxRest},
		"less where it would stay behind":    {0.5, 20 * time.Millisecond, 70 * time.Millisecond, 15 * time.Millisecond},
		"none where it hardly comes nearer":  {0.5, 20 * time.Millisecond, 40 * time.Millisecond, 0},
		"none for who keeps up":              {0.5, 20 * time.Millisecond, 20 * time.Millisecond, -10 * time.Millisecond},
		"none where the stamps have gone on": {0.5, 20 * time.Millisecond, 0, -20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := respite{share: c.share}
			if s.taken(start, at(t, time.Second, stretchBytes)) {
				t.Error("the first frame only begins a stretch: how long its origin took for it is not known")
			}
			last := at(t, time.Second+c.passed, stretchBytes)
			if s.taken(start, at(t, time.Second+c.passed, stretchBytes/2)) || !s.taken(start, last) {
				t.Errorf("a stretch is not the %d bytes that it should be", stretchBytes)
			}
			if got := s.rest(start.Add(c.worked), last); got != c.want {
				t.Errorf("rest %s, want %s", got, c.want)
			}
		})
	}
}

// TestAMoveIsNotKeptWaiting: a home that drains, or was fenced, waits for another DC.
func TestAMoveIsNotKeptWaiting(t *testing.T) {
	for name, c := range map[string]struct {
		states []homes.State
		want   bool
	}{
		"no keyspace": {nil, false},
		"at home":     {[]homes.State{{Decided: homes.Value{Epoch: 3}}}, false},
		"draining":    {[]homes.State{{}, {Decided: homes.Value{Epoch: 3}, Draining: true}}, true},
		"fenced":      {[]homes.State{{Decided: homes.Value{Epoch: 3}, Promised: homes.Ballot{Round: 4}}}, true},
	} {
		var a ackLimits
		for _, s := range c.states {
			a.registers = append(a.registers, homes.Register{State: s})
		}
		if got := a.moving(); got != c.want {
			t.Errorf("%s: moving is %t", name, got)
		}
	}
}

// TestCatchingUpRests: what was missed is taken with rests, but not where a write waits or the setting forbids it.
func TestCatchingUpRests(t *testing.T) {
	for name, c := range map[string]struct {
		percent int
		awaited bool
		rests   bool
	}{
		"rests":           {50, false, true},
		"a write waits":   {50, true, false},
		"all of the time": {100, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := newCluster(t, func(cfg *Config) {
				cfg.CatchUpPercent = c.percent
				cfg.PingInterval = 20 * time.Millisecond
			}, "a", "b")
			a, b := k.dcs["a"], k.dcs["b"]
			var seconds atomic.Int64 // of a's life
			began := time.Now()
			a.clock = event.NewClock(func() time.Time { return began.Add(time.Duration(seconds.Load()) * time.Second) })
			a.write(t, []byte("v"))
			k.settle(10 * time.Second)
			unblock := b.block()
			for range 50 {
				seconds.Add(1)
				a.write(t, bytes.Repeat([]byte("v"), stretchBytes/4))
			}
			unhurried := &k.engine("b").current.Load().peers["a"].receiver.unhurried
			eventually(t, 10*time.Second, "b knows that no write waits", unhurried.Load)
			if c.awaited {
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				defer wg.Wait()
				defer cancel()
				wg.Go(func() {
					for ; ctx.Err() == nil; pause(ctx, awaitedFor/10) {
						if _, err := k.engine("a").Admit(policy.All); err != nil {
							t.Error(err)
						}
					}
				})
				eventually(t, 10*time.Second, "b knows that a write waits", func() bool { return !unhurried.Load() })
			}
			unblock()
			k.settle(10 * time.Second)
			if rested := counterOf(t, k.engine("b").metrics.rested.WithLabelValues("a")); (rested > 0) != c.rests {
				t.Errorf("b has rested for %v s, want rests: %t", rested, c.rests)
			}
		})
	}
}
