package homes

import (
	"fmt"
	"slices"
	"time"
)

// MaxLease bounds the duration of a lease, so that the arithmetic can't overflow.
const MaxLease = time.Hour

// Lease is what an acceptor remembers of its last grant. Its state holds no time: who asks counts from the moment
// at which its own replica applied the grant, which is after the acceptor received the renewal.
type Lease struct {
	Holder   Life
	Epoch    uint64
	Duration time.Duration
	Number   uint64 // of the grant; names the lease that has lapsed
}

// renew grants to the home of v, unless another home may still count on the present lease.
func (l Lease) renew(v Value, d time.Duration, lapsed uint64, f flaws) (Lease, bool) {
	free := l.Holder == (Life{}) || lapsed == l.Number || f.has(leaseOverLease)
	same := l.Holder == v.Home && l.Epoch == v.Epoch
	if !free && !same {
		return l, false
	}
	if same && !free {
		d = max(d, l.Duration) // the holder may not have heard of the shorter one
	}
	return Lease{Holder: v.Home, Epoch: v.Epoch, Duration: d, Number: l.Number + 1}, true
}

// Terms are the numbers of a lease that all datacenters share.
type Terms struct {
	// Duration is how long an acceptor keeps others out after a grant, by its own clock: above 0, at most
	// MaxLease. It bounds how long a keyspace is without a home after an unplanned loss.
	Duration time.Duration
	// DriftPPM bounds how much any clock's rate may be off real time, in millionths: 0 to 100,000. Quartz is
	// within 100; 1000 leaves room for slewing clocks. Clocks must not stop while a machine is suspended.
	DriftPPM int64
}

const million = 1_000_000

// Validate says which number makes no sense.
func (t Terms) Validate() error {
	switch {
	case t.Duration <= 0 || t.Duration > MaxLease:
		return fmt.Errorf("%w: duration %s: want more than 0 and at most %s", ErrLease, t.Duration, MaxLease)
	case t.DriftPPM < 0 || t.DriftPPM > 100_000:
		return fmt.Errorf("%w: clock drift %d ppm: want 0 to 100000", ErrLease, t.DriftPPM)
	}
	return nil
}

// HomeHolds is how long the home may serve after it SENT the renewal that was granted, by its own clock:
// Duration * (1-drift) / (1+drift), rounded down. See README.md for the inequality.
func (t Terms) HomeHolds() time.Duration {
	return time.Duration(int64(t.Duration) * (million - t.DriftPPM) / (million + t.DriftPPM))
}

// AcceptorFree is when a lease of duration d no longer keeps others out, on the clock of the acceptor's replica
// that applied the grant at the given moment. The moment of the application counts, or that of the restart if it
// is later; never that of the sending.
func AcceptorFree(applied time.Duration, d time.Duration) time.Duration { return applied + d }

// Tenancy is a home's hold on the lease of an epoch: which acceptors granted which renewal. Moments are readings of
// one monotonic clock. It is lost in a crash, and the home starts without a lease.
type Tenancy struct {
	terms    Terms
	majority int
	sent     map[string]time.Duration // of the newest granted renewal, by acceptor
	flaws    flaws
}

// NewTenancy is a tenancy without a grant.
func NewTenancy(c Config, t Terms) (*Tenancy, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return &Tenancy{terms: t, majority: c.Majority(), sent: map[string]time.Duration{}}, nil
}

// Granted records that an acceptor granted the renewal that was sent at a moment. The grant must have answered a
// renewal of this process: of this epoch, sent since the tenancy was made, for Terms.Duration or more.
func (t *Tenancy) Granted(acceptor string, sent, received time.Duration) {
	if t.flaws.has(leaseFromReceipt) {
		sent = received
	}
	if old, ok := t.sent[acceptor]; !ok || sent > old {
		t.sent[acceptor] = sent
	}
}

// Until is the moment at which the home must have stopped serving: no answer may leave at or after it. False
// means that it does not hold the lease at all.
func (t *Tenancy) Until() (time.Duration, bool) {
	if len(t.sent) < t.majority {
		return 0, false
	}
	moments := make([]time.Duration, 0, len(t.sent))
	for _, m := range t.sent {
		moments = append(moments, m)
	}
	slices.Sort(moments)
	return moments[len(moments)-t.majority] + t.terms.HomeHolds(), true
}

// Held says whether the home may serve now.
func (t *Tenancy) Held(now time.Duration) bool {
	until, ok := t.Until()
	return ok && now < until
}
