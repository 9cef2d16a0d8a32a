package health

import (
	"fmt"
	"time"
)

// State is what a peer is believed to be.
type State uint8

// The states. A new machine is Suspected: nothing has been heard yet, and nothing is held against it yet.
const (
	Suspected  State = iota // silent or stuck for a while; may be a hiccup
	Healthy                 // heard from, and confirming what it is sent
	Down                    // silent or stuck for too long: no write should wait for it
	Recovering              // heard from again, not steady yet
)

var names = [...]string{Suspected: "suspected", Healthy: "healthy", Down: "down", Recovering: "recovering"}

// States lists all states.
func States() []State { return []State{Healthy, Suspected, Down, Recovering} }

func (s State) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText makes a state a word in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Limits are the times of the machine. All must be positive, and each pair ascending.
type Limits struct {
	SuspectAfter   time.Duration // of silence
	DownAfter      time.Duration // of silence
	StallAfter     time.Duration // of heartbeats without progress while behind: suspected
	StallDownAfter time.Duration // the same: down
	RecoverAfter   time.Duration // steady heartbeats that make a recovering peer healthy
}

// Validate says which limit makes no sense.
func (l Limits) Validate() error {
	switch {
	case l.SuspectAfter <= 0 || l.DownAfter <= l.SuspectAfter:
		return fmt.Errorf("suspected after %s and down after %s of silence: want 0 < first < second", l.SuspectAfter, l.DownAfter)
	case l.StallAfter <= 0 || l.StallDownAfter <= l.StallAfter:
		return fmt.Errorf("suspected after %s and down after %s without progress: want 0 < first < second", l.StallAfter, l.StallDownAfter)
	case l.RecoverAfter <= 0:
		return fmt.Errorf("healthy after %s of steady heartbeats: want more than 0", l.RecoverAfter)
	}
	return nil
}

// Observation is what is known of a peer at a moment.
type Observation struct {
	At      time.Time
	Contact time.Time // of the last heartbeat; zero when there was none
	Acked   int64     // the highest revision that it has confirmed
	Behind  bool      // whether there is more to confirm
}

// Event is a change of state.
type Event struct {
	At     time.Time `json:"at"`
	From   State     `json:"from"`
	To     State     `json:"to"`
	Reason string    `json:"reason"`
}

// Machine is the state of one peer. Use [New].
type Machine struct {
	State  State
	Since  time.Time
	Reason string

	started  time.Time
	progress time.Time // until here the peer is known not to be stuck
	acked    int64
}

// New starts a machine at a moment.
func New(at time.Time) Machine {
	return Machine{State: Suspected, Since: at, Reason: "not heard from yet", started: at, progress: at}
}

// Silent is the time since the last heartbeat, or since the machine was started.
func (m Machine) silent(o Observation) time.Duration {
	if o.Contact.After(m.started) {
		return o.At.Sub(o.Contact)
	}
	return o.At.Sub(m.started)
}

// Step returns the machine after an observation, and the event if that changed the state.
func (m Machine) Step(l Limits, o Observation) (Machine, *Event) {
	silent := m.silent(o)
	heard := !o.Contact.IsZero() && silent < l.SuspectAfter
	if !heard || !o.Behind || o.Acked > m.acked {
		m.progress = o.At // the stall clock stands still while nothing can be expected
	}
	m.acked = max(m.acked, o.Acked)
	stuck := o.At.Sub(m.progress)

	switch {
	case silent >= l.DownAfter:
		return m.to(o.At, Down, fmt.Sprintf("no heartbeat for %s", l.DownAfter))
	case !heard && (m.State == Healthy || m.State == Recovering):
		return m.to(o.At, Suspected, fmt.Sprintf("no heartbeat for %s", l.SuspectAfter))
	case !heard:
		return m, nil
	case stuck >= l.StallDownAfter:
		return m.to(o.At, Down, fmt.Sprintf("heartbeats, but nothing confirmed for %s", l.StallDownAfter))
	case stuck >= l.StallAfter && (m.State == Healthy || m.State == Recovering):
		return m.to(o.At, Suspected, fmt.Sprintf("heartbeats, but nothing confirmed for %s", l.StallAfter))
	case stuck >= l.StallAfter:
		return m, nil
	case m.State == Down:
		return m.to(o.At, Recovering, "heard from again")
	case m.State == Suspected:
		return m.to(o.At, Healthy, "heartbeats and progress")
	case m.State == Recovering && o.Contact.Sub(m.Since) >= l.RecoverAfter:
		return m.to(o.At, Healthy, fmt.Sprintf("steady for %s", l.RecoverAfter))
	}
	return m, nil
}

func (m Machine) to(at time.Time, s State, reason string) (Machine, *Event) {
	if m.State == s {
		return m, nil
	}
	e := &Event{At: at, From: m.State, To: s, Reason: reason}
	m.State, m.Since, m.Reason = s, at, reason
	return m, e
}
