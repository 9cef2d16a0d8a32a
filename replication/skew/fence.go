package skew

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is what is known of this node's clock.
type State string

// The states.
const (
	Unknown State = "unknown" // no peer's clock is known; nothing is refused
	Within  State = "within"  // not ahead of the median of the peers' clocks by more than the limit; it may be behind
	Fenced  State = "fenced"  // ahead of it: no multi-writer write is stamped here
)

// Limits are the bounds of a fence.
type Limits struct {
	Max  time.Duration // further ahead than this is fenced; 0 never fences
	Hold time.Duration // a fenced clock must have been within half of Max for so long
}

// Measurement is a peer's clock as it was read over the network. Those that are too old must be left out.
type Measurement struct {
	Peer  string
	Skew  time.Duration // the peer's clock minus this one
	Error time.Duration // by which Skew may be off: half of the round trip
}

// Fence is the judgement on one clock. The zero Fence is of a clock that nothing is known of.
type Fence struct {
	State State
	Since time.Time
	Ahead time.Duration // of the median; negative is behind. Means nothing while State is Unknown
	Peers []string      // whose clocks were compared, sorted

	good time.Time // within half of the limit since; zero when it is not
}

// Change is a change of state.
type Change struct {
	At     time.Time `json:"at"`
	From   State     `json:"from"`
	To     State     `json:"to"`
	Reason string    `json:"reason"`
}

// New is a fence of a clock that nothing is known of yet.
func New(at time.Time) Fence { return Fence{State: Unknown, Since: at} }

// ahead is how far this clock runs ahead of the median of the peers' clocks: as measured, and at the least,
// whatever the network did. Of an even number of clocks the later one of the middle two is the median, so
// that one peer whose clock is behind does not outvote one that agrees with this clock.
func ahead(of []Measurement) (measured, surely time.Duration) {
	skews, most := make([]time.Duration, len(of)), make([]time.Duration, len(of))
	for i, m := range of {
		skews[i], most[i] = m.Skew, m.Skew+m.Error
	}
	slices.Sort(skews)
	slices.Sort(most)
	return -skews[len(of)/2], -most[len(of)/2]
}

// Step returns the fence after a look at the peers' clocks, and the change if that changed the state. A clock is
// fenced at the first look that proves it ahead, and let off only after it has been well within the limit for
// a while.
func (f Fence) Step(l Limits, at time.Time, of []Measurement) (Fence, *Change) {
	if len(of) == 0 {
		f.Peers, f.good = nil, time.Time{}
		return f.to(at, Unknown, "no peer's clock is known")
	}
	var surely time.Duration
	f.Ahead, surely = ahead(of)
	f.Peers = f.Peers[:0:0]
	for _, m := range of {
		f.Peers = append(f.Peers, m.Peer)
	}
	slices.Sort(f.Peers)
	switch {
	case l.Max > 0 && surely > l.Max:
		f.good = time.Time{}
		return f.to(at, Fenced, fmt.Sprintf("%s, more than %s", f.Describe(), l.Max))
	case f.State != Fenced || l.Max == 0:
		return f.to(at, Within, f.Describe())
	case f.Ahead > l.Max/2:
		f.good = time.Time{}
	case f.good.IsZero():
		f.good = at
	case at.Sub(f.good) >= l.Hold:
		return f.to(at, Within, fmt.Sprintf("%s, and was within %s for %s", f.Describe(), l.Max/2, l.Hold))
	}
	return f, nil
}

// Describe says where the clock stands.
func (f Fence) Describe() string {
	word, by := "ahead of", f.Ahead
	if by < 0 {
		word, by = "behind", -by
	}
	return fmt.Sprintf("the clock is %s %s the median of its peers (%s)", by.Round(time.Millisecond), word, strings.Join(f.Peers, ", "))
}

func (f Fence) to(at time.Time, s State, reason string) (Fence, *Change) {
	if f.State == s {
		return f, nil
	}
	c := &Change{At: at, From: f.State, To: s, Reason: reason}
	f.State, f.Since, f.good = s, at, time.Time{}
	return f, c
}
