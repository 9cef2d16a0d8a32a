package homes

import (
	"fmt"
	"slices"
)

// Phase is where a move stands.
type Phase uint8

// The phases. A failover goes Claiming, Preparing, Fetching, Accepting, Announcing; a switchover Stopping,
// CatchingUp, Conceding, Accepting, Announcing.
const (
	Claiming   Phase = iota // own acceptor promises the ballot, so that no one uses it twice
	Preparing               // a majority promises
	Fetching                // this datacenter, the next home, gets what it lacks up to the cuts
	Stopping                // own acceptor refuses writes from here on
	CatchingUp              // the next home gets the rest
	Resuming                // the switchover is given up, own acceptor takes writes again
	Conceding               // own acceptor votes for the successor
	Accepting               // a majority votes
	Announcing              // decided; the others learn it
	Done                    // every acceptor has learnt it
	Aborted                 // nothing has changed
	Lost                    // another proposer goes first, see Rival and Decided
)

var phaseNames = [...]string{"claiming", "preparing", "fetching", "stopping", "catching up", "resuming", "conceding",
	"accepting", "announcing", "done", "aborted", "lost"}

func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("Phase(%d)", uint8(p))
}

// Send is a command on its way to a datacenter's acceptor.
type Send struct {
	To      string
	Command Command
}

// Move is one attempt to move a keyspace: a proposer. It keeps nothing that must survive a crash. The caller sends
// what is [Move.Due] after every step and again whenever no answer comes.
type Move struct {
	cfg      Config
	keyspace string
	known    Value
	target   Life
	settled  uint64
	ballot   Ballot
	phase    Phase
	value    Value // once chosen
	cut      int64 // of a switchover: the own head when it had drained
	extended bool
	fetched  bool
	switched bool // a switchover, so the old home's lease is given back
	promises []promise
	voted    []string
	learned  []string
	rival    Ballot
	winner   Value
	flaws    flaws
}

type promise struct {
	from  string
	reply Reply
}

// Plan is what a move needs to know at its start.
type Plan struct {
	Keyspace string
	State    State  // of the own acceptor
	Target   Life   // the next home
	Rival    Ballot // that a lost move met; the new one goes above it
	Settled  uint64 // every datacenter has applied what counts of the epochs up to here; 0 when not known
}

// NewFailover starts a move that a majority decides, whether the home lives or not. Run it at the target. With
// the home itself as target it ends a move that someone else began and left.
func NewFailover(c Config, p Plan) (*Move, error) {
	m, err := newMove(c, p)
	if err != nil {
		return nil, err
	}
	m.ballot = Ballot{Round: max(p.State.Promised.Round, p.Rival.Round) + 1, DC: m.cfg.Self}
	return m, nil
}

// NewSwitchover starts a planned move at the home. Nothing is lost, and until the target has caught up it can be
// aborted as if nothing had been.
func NewSwitchover(c Config, p Plan, self Life) (*Move, error) {
	m, err := newMove(c, p)
	if err != nil {
		return nil, err
	}
	if self != p.State.Decided.Home || self.DC != m.cfg.Self {
		return nil, fmt.Errorf("switchover of %q at %s: %w: %s; start it there", p.Keyspace, self, ErrNotHome, p.State.Decided)
	}
	m.ballot, m.phase, m.switched = Ballot{DC: self.DC}, Stopping, true
	return m, nil
}

func newMove(c Config, p Plan) (*Move, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if !c.votes(p.Target.DC) || c.witness(p.Target.DC) {
		return nil, fmt.Errorf("move of %q to %q: %w: want a voting datacenter that holds data", p.Keyspace, p.Target.DC, ErrConfig)
	}
	if n := len(next(p.State.Decided, p.Target, 0, p.Settled).Past); n > c.MaxPast {
		return nil, fmt.Errorf("move of %q: %w: %d tenures are not applied everywhere, %d may be: let the datacenter that lags catch up, or remove it",
			p.Keyspace, ErrTooManyMoves, n, c.MaxPast)
	}
	return &Move{cfg: c, keyspace: p.Keyspace, known: p.State.Decided, target: p.Target, settled: p.Settled}, nil
}

// Phase says where the move stands.
func (m *Move) Phase() Phase { return m.phase }

// Rival is the higher ballot that a lost move met: wait a random while, then start anew to hear who won.
func (m *Move) Rival() Ballot { return m.rival }

// Decided is the decision: of this move when it was decided, or the one that a lost move heard of. Decided by this
// move does not mean for its target: a proposer finishes what it finds begun.
func (m *Move) Decided() (Value, bool) { return m.winner, m.winner.Epoch > 0 }

// Needs lists what the next home must have applied, while the move waits for [Move.Fetched].
func (m *Move) Needs() []Tenure {
	switch {
	case m.phase == Fetching && m.extended:
		return m.value.Past
	case m.phase == CatchingUp:
		return next(m.known, m.target, m.cut, m.settled).Past
	}
	return nil
}

// Due lists the commands that wait for an answer. All may be sent again at any time.
func (m *Move) Due() []Send {
	base := Command{Keyspace: m.keyspace, Known: m.known, Ballot: m.ballot}
	with := func(k Kind) Command { c := base; c.Kind = k; return c }
	switch m.phase {
	case Claiming:
		c := with(Prepare)
		c.First = true
		return m.toSelf(c)
	case Preparing:
		return m.toVoters(with(Prepare), func(dc string) bool {
			return slices.ContainsFunc(m.promises, func(p promise) bool { return p.from == dc })
		})
	case Fetching:
		if m.extended {
			return nil
		}
		c := with(Extend)
		c.Value = m.value
		return m.toSelf(c)
	case Stopping:
		return m.toSelf(with(Drain))
	case Resuming:
		return m.toSelf(with(Resume))
	case Conceding, Accepting:
		c := with(Accept)
		c.Value, c.Drained = m.value, m.switched
		if m.phase == Conceding {
			c.First = true
			return m.toSelf(c)
		}
		return m.toVoters(c, func(dc string) bool { return slices.Contains(m.voted, dc) })
	case Announcing:
		c := Command{Kind: Learn, Keyspace: m.keyspace, Known: m.winner}
		return m.toVoters(c, func(dc string) bool { return slices.Contains(m.learned, dc) })
	}
	return nil
}

func (m *Move) toSelf(c Command) []Send { return []Send{{To: m.cfg.Self, Command: c}} }

func (m *Move) toVoters(c Command, answered func(string) bool) []Send {
	var out []Send
	for _, v := range m.cfg.Voters {
		if !answered(v.DC) {
			out = append(out, Send{To: v.DC, Command: c})
		}
	}
	return out
}

// Fetched tells that the next home has applied, durably, all that [Move.Needs] lists.
func (m *Move) Fetched() {
	switch {
	case m.phase == Fetching && m.extended:
		m.fetched, m.phase = true, Accepting
	case m.phase == CatchingUp:
		m.value = next(m.known, m.target, m.cut, m.settled)
		m.phase = Conceding
	}
}

// Abort gives up before anything is proposed. A switchover goes back to where it began. A failover leaves the old
// home fenced where it was promised, until someone ends the move: see README.md.
func (m *Move) Abort() error {
	switch m.phase {
	case Stopping, CatchingUp:
		m.phase = Resuming
	case Claiming, Preparing, Fetching:
		m.phase = Aborted
	case Resuming, Aborted, Lost:
	default:
		return fmt.Errorf("abort of the move of %q while %s: %w: wait for its end", m.keyspace, m.phase, ErrTooLate)
	}
	return nil
}
