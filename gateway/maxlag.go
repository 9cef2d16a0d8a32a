package gateway

import (
	"fmt"
	"math"
	"slices"
	"time"

	"geogate/replication"
	"geogate/replication/policy"
)

// OnExceed says what becomes of a write over the RPO budget. Nothing is committed in either case.
type OnExceed string

// What can be done. The zero value inherits; the default of "" is fail.
const (
	ExceedFail OnExceed = "fail" // refuse
	ExceedWait OnExceed = "wait" // wait until the write's timeout, then refuse
)

// MaxLag is the RPO budget of a keyspace: how much may be committed here that the peers have not confirmed.
// A bound of zero inherits; in the keyspace "" it is none.
type MaxLag struct {
	Age          time.Duration // of the oldest transaction that is not confirmed
	Transactions int64
	Bytes        int64
	OnExceed     OnExceed
}

func (m MaxLag) bounded() bool { return m.Age > 0 || m.Transactions > 0 || m.Bytes > 0 }

func (m MaxLag) validate() error {
	if m.Age < 0 || m.Transactions < 0 || m.Bytes < 0 {
		return fmt.Errorf("max lag %s, %d transactions, %d bytes must not be negative", m.Age, m.Transactions, m.Bytes)
	}
	switch m.OnExceed {
	case "", ExceedFail, ExceedWait:
		return nil
	}
	return fmt.Errorf("on_exceed %q is unknown; use %s or %s", m.OnExceed, ExceedFail, ExceedWait)
}

// over fills in what m leaves out.
func (m MaxLag) over(d MaxLag) MaxLag {
	if m.Age != 0 {
		d.Age = m.Age
	}
	if m.Transactions != 0 {
		d.Transactions = m.Transactions
	}
	if m.Bytes != 0 {
		d.Bytes = m.Bytes
	}
	if m.OnExceed != "" {
		d.OnExceed = m.OnExceed
	}
	return d
}

// add makes m as strict as o: the smaller bounds, and "fail" rather than "wait". One without bounds has no say.
func (m *MaxLag) add(o MaxLag) {
	switch {
	case !o.bounded():
		return
	case !m.bounded():
		*m = o
		return
	}
	m.Age, m.Transactions, m.Bytes = stricter(m.Age, o.Age), stricter(m.Transactions, o.Transactions), stricter(m.Bytes, o.Bytes)
	if o.OnExceed == ExceedFail {
		m.OnExceed = ExceedFail
	}
}

func stricter[N ~int64](a, b N) N {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// usage is how much of a budget one peer's lag uses up.
type usage struct {
	ratio float64 // above 1: over; +Inf: unknown
	peer  int     // index into the peers; -1 when there are none
}

func (u usage) over() bool  { return u.ratio > 1 }
func (u usage) known() bool { return !math.IsInf(u.ratio, 1) }

// of is the usage by one peer, to whose lag `more` is added. Where a bound's lag is unknown it counts as over.
func (m MaxLag) of(p *replication.PeerStatus, more pending) float64 {
	ratio := 0.0
	if m.Age > 0 {
		if p.LagSeconds == nil {
			return math.Inf(1)
		}
		ratio = *p.LagSeconds / m.Age.Seconds()
	}
	if m.Transactions > 0 {
		if p.LagTxns == nil {
			return math.Inf(1)
		}
		ratio = max(ratio, float64(*p.LagTxns+more.txns)/float64(m.Transactions))
	}
	if m.Bytes > 0 {
		if p.LagBytes == nil {
			return math.Inf(1)
		}
		ratio = max(ratio, float64(*p.LagBytes+more.bytes)/float64(m.Bytes))
	}
	return ratio
}

// used is how much of the budget the peers use up that a policy rests on: the best one under ASYNC and ANY,
// as many as make a majority under QUORUM, every one under ALL. Of these, the worst counts.
func (m MaxLag) used(peers []replication.PeerStatus, p policy.Policy, more pending) usage {
	need := max(p.Needs(len(peers)+1)-1, 1)
	if need > len(peers) {
		return usage{math.Inf(1), -1}
	}
	var room [8]usage
	all := room[:0]
	for i := range peers {
		all = append(all, usage{m.of(&peers[i], more), i})
	}
	slices.SortFunc(all, func(a, b usage) int {
		switch {
		case a.ratio < b.ratio:
			return -1
		case a.ratio > b.ratio:
			return 1
		}
		return a.peer - b.peer
	})
	return all[need-1]
}

// slowFrom is the part of the budget from which on ASYNC writes are slowed, and maxDelay what each of them
// waits at its end.
const (
	slowFrom = 0.5
	maxDelay = 100 * time.Millisecond
)

// delay is how long an ASYNC write is held back: it grows linearly, so that a given number of clients settles
// at the rate at which the peers keep up.
func (u usage) delay() time.Duration {
	if u.ratio <= slowFrom {
		return 0
	}
	return time.Duration(float64(maxDelay) * min((u.ratio-slowFrom)/(1-slowFrom), 1))
}

// describe says what a peer's lag and the bounds are.
func (m MaxLag) describe(peers []replication.PeerStatus, u usage, more pending) string {
	if u.peer < 0 {
		return "no peer is known"
	}
	p, text := &peers[u.peer], ""
	add := func(bounded bool, format string, known bool, lag, bound any) {
		if !bounded {
			return
		}
		if text != "" {
			text += ", "
		}
		if !known {
			lag = "unknown"
		}
		text += fmt.Sprintf(format, lag, bound)
	}
	add(m.Age > 0, "age %v of %v", p.LagSeconds != nil, seconds(p.LagSeconds), m.Age)
	add(m.Transactions > 0, "transactions %v of %v", p.LagTxns != nil, deref(p.LagTxns)+more.txns, m.Transactions)
	add(m.Bytes > 0, "bytes %v of %v", p.LagBytes != nil, deref(p.LagBytes)+more.bytes, m.Bytes)
	return fmt.Sprintf("%s lags by %s", p.DC, text)
}

func deref(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

func seconds(v *float64) time.Duration {
	if v == nil {
		return 0
	}
	return time.Duration(*v * float64(time.Second)).Round(time.Millisecond)
}
