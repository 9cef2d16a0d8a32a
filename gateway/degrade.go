package gateway

import (
	"fmt"
	"slices"
	"time"

	"geogate/dc"
	"geogate/replication"
	"geogate/replication/policy"
)

// Degrade bounds what on_unreachable: degrade may do. What is zero inherits; the defaults of "" are in brackets.
type Degrade struct {
	To           *policy.Policy // the weaker policy (ASYNC)
	MaxTime      time.Duration  // from the first degraded write until the peers are back (5 min)
	MaxBytes     int64          // of requests written meanwhile (64 MiB)
	RecoverAfter time.Duration  // for which the peers must have been back and close before it is left (5 s)
	RecoverLag   time.Duration  // what is close: age of the oldest transaction not confirmed (1 s)
}

var defaultDegrade = Degrade{
	To: new(policy.Async), MaxTime: 5 * time.Minute, MaxBytes: 64 << 20, RecoverAfter: 5 * time.Second, RecoverLag: time.Second,
}

func (d Degrade) validate() error {
	if d.MaxTime < 0 || d.MaxBytes < 0 || d.RecoverAfter < 0 || d.RecoverLag < 0 {
		return fmt.Errorf("degrade: max time %s, max bytes %d, recover after %s and recover lag %s must not be negative",
			d.MaxTime, d.MaxBytes, d.RecoverAfter, d.RecoverLag)
	}
	if d.To != nil && *d.To >= policy.All {
		return fmt.Errorf("degrade to %s: use QUORUM, ANY or ASYNC", *d.To)
	}
	return nil
}

// over fills in what d leaves out.
func (d Degrade) over(o Degrade) Degrade {
	if d.To != nil {
		o.To = d.To
	}
	if d.MaxTime != 0 {
		o.MaxTime = d.MaxTime
	}
	if d.MaxBytes != 0 {
		o.MaxBytes = d.MaxBytes
	}
	if d.RecoverAfter != 0 {
		o.RecoverAfter = d.RecoverAfter
	}
	if d.RecoverLag != 0 {
		o.RecoverLag = d.RecoverLag
	}
	return o
}

// spell is one degradation, from the first write that was taken under the weaker policy until it is left. The
// zero spell is none.
type spell struct {
	active    bool
	since     time.Time
	bytes     int64         // written meanwhile
	low, high policy.Policy // weakest and strongest policy that could not be met
	good      time.Time     // the peers are back and close since; zero when they are not
	spent     string        // the bound that was reached; "" when none
}

// holds says that a write of policy p is taken under the weaker one even if p can be met again.
func (sp *spell) holds(p policy.Policy) bool { return sp.active && sp.spent == "" && p >= sp.low }

// take counts in a write of policy p, which can't be met or is held. began says that it is the first of a spell.
// Not ok means that a bound is reached, of which spentNow tells the first time.
func (sp *spell) take(d Degrade, now time.Time, p policy.Policy, bytes int64) (ok, began, spentNow bool) {
	if !sp.active {
		*sp = spell{active: true, since: now, low: p, high: p}
		began = true
	}
	sp.low, sp.high = min(sp.low, p), max(sp.high, p)
	was := sp.spent
	switch {
	case sp.spent != "":
	case now.Sub(sp.since) >= d.MaxTime:
		sp.spent = fmt.Sprintf("it has lasted for %s", d.MaxTime)
	case bytes > d.MaxBytes-sp.bytes:
		sp.spent = fmt.Sprintf("no more than %d bytes may be written under it", d.MaxBytes)
	default:
		sp.bytes += bytes
		return true, began, false
	}
	return false, began, was == ""
}

// adopt goes on with what the datacenter has taken down, if that says more than this leader knows: another one led
// when it began.
func (sp *spell) adopt(g dc.Degradation) (began bool) {
	low, high := policy.Policy(g.Low), policy.Policy(g.High)
	if began = !sp.active; began {
		*sp = spell{active: true, since: g.Seen, low: low, high: high}
	}
	if g.Seen.Before(sp.since) {
		sp.since = g.Seen
	}
	sp.low, sp.high = min(sp.low, low), max(sp.high, high)
	sp.bytes = max(sp.bytes, g.Bytes)
	return began
}

// observe ends the spell when the peers have been back for long enough.
func (sp *spell) observe(d Degrade, now time.Time, back bool) (left bool) {
	switch {
	case !sp.active:
	case !back:
		sp.good = time.Time{}
	case sp.good.IsZero():
		sp.good = now
	case now.Sub(sp.good) >= d.RecoverAfter:
		*sp = spell{}
		return true
	}
	return false
}

// caughtUp says whether enough peers for p lag no more than d allows. A lag that is unknown is not close.
func (d Degrade) caughtUp(peers []replication.PeerStatus, p policy.Policy) bool {
	n := 1
	for _, peer := range peers {
		if peer.LagSeconds != nil && *peer.LagSeconds <= d.RecoverLag.Seconds() {
			n++
		}
	}
	return p.Met(len(peers)+1, n)
}

// degradations are those of all keyspaces that a write touches. It is immutable.
type degradations struct{ of []*degradation }

// with is the union, made only when it differs.
func (d *degradations) with(o *degradations) *degradations {
	if d == nil {
		return o
	}
	if o == nil || d == o {
		return d
	}
	all := slices.Clone(d.of)
	for _, x := range o.of {
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return &degradations{all}
}

// to is the strongest of the policies to degrade to.
func (d *degradations) to() policy.Policy {
	p := policy.Async
	for _, x := range d.of {
		p = max(p, *x.limits.To)
	}
	return p
}

// account is what a degraded write says of itself.
func (d *degradations) account(asked policy.Policy, bytes int64) dc.Degraded {
	g := dc.Degraded{Policy: uint8(asked), Bytes: bytes}
	for _, x := range d.of {
		g.Keyspaces = append(g.Keyspaces, x.prefix)
	}
	return g
}
