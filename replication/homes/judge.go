package homes

import "fmt"

// Write names one write of the keyspace in a chain of frames.
type Write struct {
	Epoch    uint64 // that its home wrote it in
	Home     Life
	Revision int64 // origin revision
}

// Verdict says what to do with a write of another datacenter.
type Verdict uint8

// The verdicts.
const (
	// Hold stops the chain before this write, for as long as the state stays: a move is open, the epoch is not
	// known here, or writes of earlier epochs are missing.
	Hold Verdict = iota
	// Apply it.
	Apply
	// SetAside keeps it where an operator can list, replay or discard it; the chain goes on.
	SetAside
)

func (v Verdict) String() string {
	switch v {
	case Hold:
		return "hold"
	case Apply:
		return "apply"
	case SetAside:
		return "set aside"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Judge says what a datacenter does with a write of the keyspace that comes next in a chain. It is deterministic in
// its arguments and must be asked where the frame is applied, not where it is received.
func (s State) Judge(w Write, marks Marks) Verdict { return s.judge(w, marks, 0) }

func (s State) judge(w Write, marks Marks, f flaws) Verdict {
	v := s.Decided
	switch {
	case w.Epoch > v.Epoch:
		return Hold
	case w.Epoch == v.Epoch && w.Home == v.Home:
		// Frozen counts, not the watermark: other keyspaces' writes move that one.
		if s.Fenced() && w.Revision > max(s.Frozen, s.Allowed) && !f.has(fenceForgotten) {
			return Hold
		}
		if !v.Covered(marks) {
			return Hold
		}
		return Apply
	}
	for _, t := range v.Past {
		if t.Epoch == w.Epoch && t.Home == w.Home && w.Revision <= t.Cut {
			return Apply
		}
	}
	return SetAside
}

// AckLimit is the highest revision of a life's chain that may be acknowledged to anyone while this state stays;
// false when the state sets no limit. Origin is the epoch of the keyspace that the origin of the chain is known to
// have learnt: what was set aside must not count at a home that doesn't know that it is none any more.
func (s State) AckLimit(chain Life, origin uint64) (int64, bool) { return s.ackLimit(chain, origin, 0) }

func (s State) ackLimit(chain Life, origin uint64, f flaws) (int64, bool) {
	if s.barred() && chain == s.Decided.Home && !f.has(ackedAfterLoss) {
		return 0, true // it may have promised something, and what it had then is not known
	}
	if s.Fenced() && chain == s.Decided.Home {
		switch {
		case f.has(fenceForgotten):
			return 0, false
		case f.has(ackedBeforeDecided):
			return max(s.Frozen, s.Allowed), true
		}
		return s.Frozen, true
	}
	for i := len(s.Decided.Past) - 1; i >= 0; i-- {
		if t := s.Decided.Past[i]; t.Home == chain && origin <= t.Epoch && !f.has(ackedSetAside) {
			return t.Cut, true
		}
	}
	return 0, false
}

// Overrun says whether more of the last home's chain was applied than the decision counts: this datacenter must
// write the earlier values of those keys again, and set the writes beyond the cut aside.
func (s State) Overrun(marks Marks) (Tenure, bool) {
	t, ok := s.Decided.Cut()
	return t, ok && marks != nil && marks(t.Home) > t.Cut
}
