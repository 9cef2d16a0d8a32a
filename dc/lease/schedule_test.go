package lease

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const (
	grace = time.Second
	every = 5 * time.Minute
)

// clock is a schedule with a time of its own.
type clock struct {
	t   *testing.T
	now time.Time
	*Schedule
}

func newClock(t *testing.T, leases ...Lease) *clock {
	t.Helper()
	tb := NewTable()
	for _, l := range leases {
		if err := tb.Grant(l); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &clock{t: t, now: now, Schedule: NewSchedule(tb, now, grace, every)}
}

// expect moves on by d and compares what is due: "7" for an expired lease, "7=600" for a checkpoint.
func (c *clock) expect(d time.Duration, want string) {
	c.t.Helper()
	c.now = c.now.Add(d)
	var got []string
	expired, checkpoints, _ := c.Due(c.now, 1000)
	for _, l := range expired {
		got = append(got, fmt.Sprint(l.ID))
	}
	for _, l := range checkpoints {
		got = append(got, fmt.Sprintf("%d=%d", l.ID, l.Remaining))
	}
	if s := strings.Join(got, " "); s != want {
		c.t.Errorf("due is %q, want %q", s, want)
	}
}

func TestLeasesEndInTheirOrder(t *testing.T) {
	c := newClock(t)
	for i, ttl := range []int64{9, 3, 6} {
		c.Grant(Lease{ID: int64(i + 1), TTL: ttl}, c.now)
	}
	c.expect(3*time.Second-1, "")
	if left, ok := c.Left(2, c.now); !ok || left != 1 {
		t.Errorf("left is %s, %t", left, ok)
	}
	if ttl, ok := c.Renew(3, c.now); !ok || ttl != 6 {
		t.Errorf("renewed for %d, %t", ttl, ok)
	}
	c.expect(1, "2")
	if _, ok := c.Renew(2, c.now); ok {
		t.Error("a lease that is being revoked was renewed")
	}
	if left, ok := c.Left(2, c.now); !ok || left != 0 {
		t.Errorf("of a lease that is being revoked %s is left, %t", left, ok)
	}
	c.Drop(2)
	if _, ok := c.Left(2, c.now); ok {
		t.Error("a revoked lease is still there")
	}
	c.expect(6*time.Second-2, "")
	c.expect(1, "3")
	c.expect(time.Second, "1") // its 9 s had begun before 3 was renewed
	c.expect(time.Hour, "")
}

func TestALeaseThatIsOverIsNotRenewedEvenBeforeAnyoneLooked(t *testing.T) {
	c := newClock(t)
	c.Grant(Lease{ID: 1, TTL: 2}, c.now)
	if _, ok := c.Renew(1, c.now.Add(2*time.Second)); ok {
		t.Error("renewed after its end")
	}
	c.expect(2*time.Second, "1")
}

func TestWhatCouldNotBeRevokedIsDueAgain(t *testing.T) {
	c := newClock(t)
	c.Grant(Lease{ID: 1, TTL: 2, Granted: 5}, c.now)
	c.expect(2*time.Second, "1")
	c.expect(time.Second, "")
	c.Retry(Lease{ID: 1, Granted: 4}) // another lease of this id
	c.expect(0, "")
	c.Retry(Lease{ID: 1, Granted: 5})
	c.expect(0, "1")
	c.Drop(1)
	c.Retry(Lease{ID: 1, Granted: 5})
	c.expect(time.Hour, "")
}

func TestDueIsBounded(t *testing.T) {
	c := newClock(t)
	for i := range int64(25) {
		c.Grant(Lease{ID: i + 1, TTL: 2}, c.now)
	}
	c.now = c.now.Add(2 * time.Second)
	for i, want := range []int{10, 10, 5} {
		expired, _, more := c.Due(c.now, 10)
		if len(expired) != want || more != (i < 2) {
			t.Errorf("round %d: %d, more %t", i, len(expired), more)
		}
	}
}

func TestANewLeaderCountsFromTheCheckpointAndGivesGrace(t *testing.T) {
	c := newClock(t, Lease{ID: 1, TTL: 10}, Lease{ID: 2, TTL: 3600, Remaining: 20})
	c.expect(10*time.Second, "")
	c.expect(grace, "1")
	c.expect(10*time.Second-1, "")
	if _, ok := c.Renew(2, c.now); ok {
		t.Error("renewed while the log still has its checkpoint: the next leader would end it early")
	}
	c.expect(1, "2")

	c = newClock(t, Lease{ID: 2, TTL: 3600, Remaining: 20})
	c.Checkpointed(Lease{ID: 2, TTL: 3600})
	if ttl, ok := c.Renew(2, c.now); !ok || ttl != 3600 {
		t.Errorf("renewed for %d, %t", ttl, ok)
	}
	c.expect(every, "2=3300")
}

func TestLongLeasesAreCheckpointed(t *testing.T) {
	c := newClock(t)
	c.Grant(Lease{ID: 1, TTL: 300}, c.now) // as long as the interval: never
	c.Grant(Lease{ID: 2, TTL: 1000}, c.now)
	c.expect(every-1, "")
	c.Renew(1, c.now)
	c.expect(1, "2=700")
	c.Checkpointed(Lease{ID: 2, TTL: 1000, Remaining: 700})
	c.expect(every-2, "")
	c.expect(1, "1")
	c.expect(1, "2=400")
	c.expect(every, "2=100")
	c.expect(100*time.Second, "2")
}

// Against a list that is searched: the queue must not lose or reorder a lease, whatever is done to it.
func TestScheduleAgainstAList(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := newClock(t)
	deadline := map[int64]time.Time{}
	for range 20_000 {
		id := 1 + rnd.Int64N(50)
		switch rnd.IntN(5) {
		case 0:
			ttl := 1 + rnd.Int64N(40)
			c.Grant(Lease{ID: id, TTL: ttl}, c.now)
			deadline[id] = c.now.Add(seconds(ttl))
		case 1:
			c.Drop(id)
			delete(deadline, id)
		case 2:
			ttl, ok := c.Renew(id, c.now)
			end, there := deadline[id]
			if ok != (there && end.After(c.now)) {
				t.Fatalf("renew of %d: %t", id, ok)
			}
			if ok {
				deadline[id] = c.now.Add(seconds(ttl))
			}
		default:
			c.now = c.now.Add(time.Duration(rnd.Int64N(int64(time.Second))))
			want := map[int64]bool{}
			for id, end := range deadline {
				if !end.After(c.now) {
					want[id] = true
				}
			}
			expired, _, _ := c.Due(c.now, 1000)
			for _, l := range expired {
				if !want[l.ID] {
					t.Fatalf("%d ended at the wrong time", l.ID)
				}
				delete(want, l.ID)
				c.Drop(l.ID)
				delete(deadline, l.ID)
			}
			if len(want) > 0 {
				t.Fatalf("%v were not due", want)
			}
		}
	}
}
