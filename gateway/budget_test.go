package gateway

import (
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/replication"
	"geogate/replication/policy"
)

func lagging(age float64, txns, bytes int64) replication.PeerStatus {
	return replication.PeerStatus{LagSeconds: &age, LagTxns: &txns, LagBytes: &bytes}
}

func TestBudgetUsed(t *testing.T) {
	unknown := replication.PeerStatus{}
	for name, c := range map[string]struct {
		budget MaxLag
		policy policy.Policy
		peers  []replication.PeerStatus
		more   pending
		want   float64
	}{
		"age":                    {MaxLag{Age: 2 * time.Second}, policy.Async, []replication.PeerStatus{lagging(1, 9, 9)}, pending{}, 0.5},
		"transactions":           {MaxLag{Transactions: 10}, policy.Async, []replication.PeerStatus{lagging(99, 4, 99)}, pending{}, 0.4},
		"bytes":                  {MaxLag{Bytes: 10}, policy.Async, []replication.PeerStatus{lagging(99, 99, 8)}, pending{}, 0.8},
		"the worst bound":        {MaxLag{Age: time.Second, Transactions: 10, Bytes: 10}, policy.Async, []replication.PeerStatus{lagging(0.1, 9, 5)}, pending{}, 0.9},
		"with what is pending":   {MaxLag{Transactions: 10, Bytes: 100}, policy.Async, []replication.PeerStatus{lagging(0, 4, 0)}, pending{3, 10}, 0.7},
		"ASYNC: the best peer":   {MaxLag{Transactions: 10}, policy.Async, []replication.PeerStatus{lagging(0, 50, 0), lagging(0, 1, 0), unknown}, pending{}, 0.1},
		"ANY: the best peer":     {MaxLag{Transactions: 10}, policy.Any, []replication.PeerStatus{lagging(0, 50, 0), lagging(0, 1, 0)}, pending{}, 0.1},
		"QUORUM of 5: the 2nd":   {MaxLag{Transactions: 10}, policy.Quorum, []replication.PeerStatus{lagging(0, 9, 0), lagging(0, 1, 0), unknown, lagging(0, 5, 0)}, pending{}, 0.5},
		"ALL: the worst":         {MaxLag{Transactions: 10}, policy.All, []replication.PeerStatus{lagging(0, 50, 0), lagging(0, 1, 0)}, pending{}, 5},
		"unknown":                {MaxLag{Age: time.Hour}, policy.Async, []replication.PeerStatus{unknown, unknown}, pending{}, math.Inf(1)},
		"one bound's is unknown": {MaxLag{Age: time.Hour, Bytes: 9}, policy.Async, []replication.PeerStatus{{LagSeconds: new(0.0)}}, pending{}, math.Inf(1)},
		"no peer":                {MaxLag{Age: time.Hour}, policy.Async, nil, pending{}, math.Inf(1)},
	} {
		if got := c.budget.used(c.peers, c.policy, c.more); math.Abs(got.ratio-c.want) > 1e-9 && got.ratio != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestBudgetDelay(t *testing.T) {
	for ratio, want := range map[float64]time.Duration{
		0: 0, 0.5: 0, 0.6: maxDelay / 5, 0.75: maxDelay / 2, 1: maxDelay, 7: maxDelay, math.Inf(1): maxDelay,
	} {
		if got := (usage{ratio: ratio}).delay(); got.Round(time.Microsecond) != want {
			t.Errorf("at %v: %s, want %s", ratio, got, want)
		}
	}
}

func TestBudgetOfSeveralKeyspaces(t *testing.T) {
	r := rule{}
	r.lag.add(MaxLag{OnExceed: ExceedFail}) // no bounds: no say
	r.lag.add(MaxLag{Age: 5, Bytes: 7, OnExceed: ExceedWait})
	r.lag.add(MaxLag{OnExceed: ExceedFail})
	if want := (MaxLag{Age: 5, Bytes: 7, OnExceed: ExceedWait}); r.lag != want {
		t.Errorf("got %+v, want %+v", r.lag, want)
	}
	r.lag.add(MaxLag{Age: 9, Transactions: 3, Bytes: 6, OnExceed: ExceedFail})
	if want := (MaxLag{Age: 5, Transactions: 3, Bytes: 6, OnExceed: ExceedFail}); r.lag != want {
		t.Errorf("got %+v, want %+v", r.lag, want)
	}
}

func budgeted(m MaxLag) func(*Config) {
	return func(c *Config) { c.Keyspaces = []Keyspace{{MaxLag: m, Timeout: 5 * time.Second}} }
}

func TestBudgetRefusesAtTheBound(t *testing.T) {
	s := newSite(t, 2, budgeted(MaxLag{Age: 10 * time.Second, Transactions: 40}))
	s.peers.lags("dc-b", 0, 0, 0)
	c := s.client(1) // follows: the write is forwarded
	if _, err := c.Put(testContext(t), "a", "1"); err != nil {
		t.Fatal(err)
	}
	s.peers.lags("dc-b", 3*time.Second, 40, 99)
	s.peers.lags("dc-c", 11*time.Second, 999, 99)
	eventually(t, "the lag is read", func() bool { return s.used(0) >= 1 })
	hurried := s.peers.hurried() // the first write may have waited, for the first reading
	before := s.data.attempts()
	_, err := c.Put(testContext(t), "a", "2")
	if status.Code(err) != codes.Unavailable || s.data.attempts() != before {
		t.Fatalf("got %v after %d attempts", err, s.data.attempts()-before)
	}
	for _, want := range []string{"nothing was written", "max_lag", "dc-b lags by age 3s of 10s, transactions 40 of 40"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if n := counted(t, s.nodes[0].metrics.rpoRefused); n != 1 {
		t.Errorf("%v refusals counted: clientv3 has repeated it, or it was not", n)
	}
	if s.peers.hurried() == hurried {
		t.Error("a write was refused until the peers come nearer, and nobody told them to hurry")
	}
	s.peers.lags("dc-c", 0, 0, 0) // one peer is enough for ASYNC
	eventually(t, "writes flow again", func() bool { _, err := c.Put(testContext(t), "a", "3"); return err == nil })
	if _, err := putFor(testContext(t, metaPolicy, "ALL"), s.kv(0), "a"); status.Code(err) != codes.Unavailable {
		t.Errorf("ALL rests on every peer: %v", err)
	}
}

// The lag is read now and then, but no more writes than the bound has room for come in between.
func TestBudgetHoldsBetweenReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := bareServer(MaxLag{Transactions: 100, OnExceed: ExceedFail})
		st := newStanding()
		st.leading, st.peers = true, []replication.PeerStatus{lagging(0, 60, 0)}
		st.at = st.since.Add(time.Hour)
		s.standing.Store(st)
		var in sync.WaitGroup
		var mu sync.Mutex
		admitted := 0
		for range 500 {
			in.Go(func() {
				if _, err := s.withinBudget(t.Context(), r, 10); err == nil {
					mu.Lock()
					admitted++
					mu.Unlock()
				}
			})
		}
		in.Wait()
		if admitted != 40 || s.inflightTxns.Load() != 40 {
			t.Errorf("%d admitted, %d in flight, want 40", admitted, s.inflightTxns.Load())
		}
	})
}

// bareServer can do what the budget needs.
func bareServer(m MaxLag) (*Server, rule) {
	metrics, err := newMetrics(nil)
	if err != nil {
		panic(err)
	}
	data := newFakeData("dc-a", 1)
	s := &Server{replication: nobody{}, metrics: metrics, dc: fakeNode{data, 1}, stopping: make(chan struct{})}
	s.cfg.MaxHeldWrites = 1000
	s.standing.Store(newStanding())
	return s, rule{timeout: 5 * time.Second, lag: m}
}

func (s *Server) read(peers ...replication.PeerStatus) {
	old, st := s.standing.Load(), newStanding()
	st.leading, st.peers, st.at, st.since = true, peers, time.Now(), time.Now()
	if old.leading {
		st.since = old.since
	}
	s.standing.Store(st)
	close(old.next)
}

func TestBudgetSlowsAsyncWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := bareServer(MaxLag{Age: 10 * time.Second, OnExceed: ExceedFail})
		for _, c := range []struct {
			policy   policy.Policy
			age      float64
			min, max time.Duration
		}{
			{policy.Async, 4.9, 0, 0}, {policy.Async, 7.5, maxDelay / 4, maxDelay * 3 / 4},
			{policy.Async, 9.999, maxDelay / 3, maxDelay * 3 / 2}, {policy.Quorum, 9.9, 0, 0},
		} {
			s.read(lagging(c.age, 0, 0), lagging(c.age, 0, 0))
			r.policy = c.policy
			start := time.Now()
			a, err := s.withinBudget(t.Context(), r, 1)
			if took := time.Since(start); err != nil || took < c.min || took > c.max {
				t.Errorf("%s at %v s: after %s, %v", c.policy, c.age, took, err)
			}
			a.done()
		}
		if n := counted(t, s.metrics.rpoDelayed); n != 2 || s.inflightTxns.Load() != 0 {
			t.Errorf("%v delays counted, %d in flight", n, s.inflightTxns.Load())
		}
	})
}

func TestBudgetWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := bareServer(MaxLag{Transactions: 10, OnExceed: ExceedWait})
		s.read(lagging(0, 10, 0))
		start := time.Now()
		if _, err := s.withinBudget(t.Context(), r, 1); err == nil || time.Since(start) != r.timeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		go func() {
			time.Sleep(2 * time.Second)
			s.read(lagging(0, 1, 0))
		}()
		start = time.Now()
		if _, err := s.withinBudget(t.Context(), r, 1); err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		s.cfg.MaxHeldWrites = 0
		s.read(lagging(0, 10, 0))
		start = time.Now()
		if _, err := s.withinBudget(t.Context(), r, 1); err == nil || time.Since(start) != 0 {
			t.Errorf("with nobody allowed to wait: after %s, %v", time.Since(start), err)
		}
	})
}

// Right after an election nobody has said yet where it stands: that is waited for, but not for long.
func TestBudgetOfANewLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := bareServer(MaxLag{Transactions: 10, OnExceed: ExceedFail})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 60 {
				s.read(replication.PeerStatus{DC: "dc-b"})
				time.Sleep(standingInterval)
			}
			s.read(lagging(0, 0, 0))
		}()
		start := time.Now()
		_, err := s.withinBudget(t.Context(), r, 1)
		if took := time.Since(start); err == nil || took != unknownGrace || !strings.Contains(err.Error(), "transactions unknown of 10") {
			t.Errorf("after %s: %v", took, err)
		}
		start = time.Now()
		if _, err := s.withinBudget(t.Context(), r, 1); err == nil || time.Since(start) != 0 {
			t.Errorf("later: after %s, %v", time.Since(start), err)
		}
		<-done
		if _, err := s.withinBudget(t.Context(), r, 1); err != nil {
			t.Error(err)
		}
	})
}

// used is the ratio of the keyspace "" that node i tells.
func (s *site) used(i int) float64 {
	if k := s.nodes[i].Keyspaces(); k != nil && k[0].MaxLag.UsedRatio != nil {
		return *k[0].MaxLag.UsedRatio
	}
	return math.Inf(1)
}
