package drill

import "time"

// fault is something that the drill did to the cluster, or a move of a home, and when it was noticed. It takes times
// and has no clock; the caller locks.
type fault struct {
	what string
	at   time.Time
	// sees says whether a datacenter's opinion on another one is a sign of the fault; nil: none is expected.
	sees func(observer, subject string) bool
	// home is where writes were ordered before, in a single-writer keyspace; else "".
	home     string
	detected time.Time
}

// health tells what a datacenter thinks of another one.
func (f *fault) health(now time.Time, observer, subject, state string) {
	if f.sees != nil && f.detected.IsZero() && state == "down" && f.sees(observer, subject) {
		f.detected = now
	}
}

// attempt is one write of a probe, as far as recovery times need it.
type attempt struct {
	began, now time.Time
	dc         int
	origin     string // that ordered it; "" when it failed
}

// rto is from the first write that began since the fault and failed to the first acknowledged one that began after
// that, ordered by another home, or in a multi-writer keyspace at the endpoint of another datacenter. A failure is
// known late, when the client gives up; so this looks back. Without such an acknowledgement end stands for it. It is
// unknown when no write failed before until, when the next fault begins.
func (f *fault) rto(all []attempt, until, end time.Time) (time.Duration, bool) {
	var failed *attempt
	for i := range all {
		a := &all[i]
		if a.origin == "" && !a.began.Before(f.at) && a.began.Before(until) && (failed == nil || a.began.Before(failed.began)) {
			failed = a
		}
	}
	if failed == nil {
		return 0, false
	}
	restored := end
	for i := range all {
		a := &all[i]
		if a.origin == "" || a.began.Before(failed.began) {
			continue
		}
		if elsewhere := f.home != "" && a.origin != f.home || f.home == "" && a.dc != failed.dc; elsewhere && a.now.Before(restored) {
			restored = a.now
		}
	}
	return restored.Sub(failed.began), true
}
