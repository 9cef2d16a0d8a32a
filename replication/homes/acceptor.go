package homes

import (
	"math"
	"time"
)

// State is the acceptor of one keyspace in one datacenter. The zero State is one that knows no decision. It holds
// the state of a single Paxos instance, that of epoch Decided.Epoch+1: an instance is only begun by those who know
// the decision before it, and their commands carry it.
type State struct {
	Decided  Value    // the latest known decision
	Promised Ballot   // in the open instance; none when nothing is promised
	Vote     Proposal // in the open instance
	Draining bool     // the home (this datacenter) refuses writes, for a switchover
	Frozen   int64    // when fenced or draining: the watermark of the home at that moment
	Allowed  int64    // when fenced: what may be applied beyond Frozen, and never acknowledged
	Lease    Lease    // the last one granted
	Barred   uint64   // no vote in instances up to here: what was voted in them is lost
	// Moved is when this datacenter learnt of Decided, in Unix nanoseconds by the clock of the node that led it; 0 for a
	// first home, and when no clock came with it.
	Moved int64
}

// Fenced says that a move is open: no write of the home of Decided counts here any more unless a value with a
// higher cut is decided.
func (s State) Fenced() bool { return s.Promised != (Ballot{}) || s.Vote.Value.Epoch != 0 }

// barred says that it has no vote in the open instance.
func (s State) barred() bool { return s.Barred > s.Decided.Epoch }

// Amnesic says whether the acceptor must be barred before a command is applied: it would be told the first decision that
// it hears of, and neither was the first home nor voted for it. It may be in the place of one that had, and lost its data.
// Self is the present life. Whoever runs it asks before each command; two that ask at once may both bar it.
func (s State) Amnesic(self Life, c Command) bool {
	return s.Decided.Epoch == 0 && s.Barred == 0 && c.Known.Epoch > 0 && c.Kind != Force && !s.founded(self, c.Known)
}

// founded says whether a value, or one that led to it, is the first one of the keyspace, and this acceptor's own or had its
// vote. A majority may have decided on the founder without its own vote.
func (s State) founded(self Life, v Value) bool {
	first := Tenure{Epoch: v.Epoch, Home: v.Home}
	if len(v.Past) > 0 {
		first = v.Past[0]
	}
	return first.Epoch == 1 && (first.Home == self || s.Vote.Value.Epoch == 1 && s.Vote.Value.Home == first.Home)
}

// Writable says whether the Raft group of dc may apply a local write of the keyspace: to be asked in the log's
// order, by every replica. The home's leader must also hold the lease when it takes the write.
func (s State) Writable(self Life) bool {
	return s.Decided.Epoch > 0 && s.Decided.Home == self && !s.Fenced() && !s.Draining
}

// Apply executes a command. It is deterministic in its arguments.
func (s State) Apply(c Command, marks Marks) (State, Reply) {
	next, r := s.apply(c, marks, 0)
	r.Keyspace, r.Epoch, r.Ballot = c.Keyspace, c.Known.Epoch, c.Ballot
	return next, r
}

func (s State) apply(c Command, marks Marks, f flaws) (State, Reply) {
	if c.Known.Forced && c.Known.Epoch < forcedStep {
		return s, Reply{Answer: Invalid}
	}
	switch order := c.Known.Compare(s.Decided); {
	case c.Known.diverges(s.Decided):
		return s, Reply{Answer: Diverged, Decided: s.Decided}
	case order < 0 && c.Kind != Bar && c.Kind != Admit:
		return s, Reply{Answer: Behind, Decided: s.Decided}
	case order > 0:
		s = s.learn(c.Known, c.At, f)
	}
	switch c.Kind {
	case Learn, Force:
		return s, Reply{Answer: Learned, Watermark: watermark(marks, s.Decided.Home), Data: marks != nil,
			Quiet: !s.Fenced() && !s.barred(), Lost: s.barred()}
	case Drain:
		return s.drain(marks, f)
	case Resume:
		return s.resume()
	case Extend:
		return s.extend(c)
	case Bar:
		return s.bar(c.Duration), Reply{Answer: Barred}
	case Admit:
		s.Barred = c.UpTo
		return s, Reply{Answer: Admitted}
	}
	if c.Known.Epoch < s.Barred {
		return s, Reply{Answer: Barred}
	}
	switch c.Kind {
	case Prepare:
		return s.prepare(c, marks, f)
	case Accept:
		return s.accept(c, marks, f)
	case Renew:
		return s.renew(c, f)
	}
	return s, Reply{Answer: Invalid}
}

// learn closes the open instance. The lease stays: the earlier home may still count on it.
func (s State) learn(v Value, at int64, f flaws) State {
	lease := s.Lease
	if f.has(leaseForgottenOnLearn) {
		lease.Holder = Life{}
	}
	if v.Epoch <= 1 {
		at = 0 // nothing has moved
	}
	return State{Decided: v, Lease: lease, Barred: s.Barred, Moved: at}
}

// freeze remembers the watermark of the home before anything of a move happens here.
func (s State) freeze(marks Marks) State {
	if !s.Fenced() && !s.Draining {
		s.Frozen = watermark(marks, s.Decided.Home)
	}
	return s
}

func watermark(marks Marks, home Life) int64 {
	if marks == nil || home.DC == "" {
		return 0
	}
	return marks(home)
}

func (s State) prepare(c Command, marks Marks, f flaws) (State, Reply) {
	if c.Ballot.Round == 0 || c.Ballot.DC == "" {
		return s, Reply{Answer: Invalid}
	}
	order := c.Ballot.Compare(s.Promised)
	if order < 0 || order == 0 && c.First && !f.has(ballotUsedTwice) {
		return s, Reply{Answer: Refused, Promised: s.Promised}
	}
	s = s.freeze(marks)
	s.Promised = c.Ballot
	r := Reply{Answer: Promised, Promised: s.Promised, Vote: s.Vote, Lease: s.Lease, Data: marks != nil}
	r.Watermark = watermark(marks, s.Decided.Home)
	if f.has(voteForgotten) {
		r.Vote = Proposal{}
	}
	return s, r
}

func (s State) accept(c Command, marks Marks, f flaws) (State, Reply) {
	if c.Value.follows(c.Known) != nil || c.Ballot.Round == 0 && (c.Ballot.DC != c.Known.Home.DC || c.Known.Epoch == 0) {
		return s, Reply{Answer: Invalid}
	}
	if c.Ballot.Compare(s.Promised) < 0 && !f.has(promiseForgotten) {
		return s, Reply{Answer: Refused, Promised: s.Promised}
	}
	if s.Vote.Value.Epoch != 0 && s.Vote.Ballot == c.Ballot && !s.Vote.Value.Equal(c.Value) {
		return s, Reply{Answer: Refused, Promised: s.Promised}
	}
	if c.First && !f.has(conceded) {
		// The home proposes its successor with its own head as the cut: nothing may have been written since.
		repeated := s.Vote.Value.Epoch != 0 && s.Vote.Ballot == c.Ballot
		if t, _ := c.Value.Cut(); !repeated && (!s.Draining || s.Fenced() || t.Cut != s.Frozen) {
			return s, Reply{Answer: Refused, Promised: s.Promised}
		}
	}
	s = s.freeze(marks)
	s.Promised = c.Ballot
	s.Vote = Proposal{Ballot: c.Ballot, Value: c.Value}
	if c.Drained && s.Lease.Holder == c.Known.Home && s.Lease.Epoch == c.Known.Epoch {
		s.Lease = Lease{Number: s.Lease.Number}
	}
	return s, Reply{Answer: Accepted, Promised: s.Promised}
}

func (s State) extend(c Command) (State, Reply) {
	t, ok := c.Value.Cut()
	if c.Value.follows(c.Known) != nil || !ok {
		return s, Reply{Answer: Invalid}
	}
	if c.Ballot != s.Promised {
		return s, Reply{Answer: Refused, Promised: s.Promised}
	}
	s.Allowed = max(s.Allowed, t.Cut)
	return s, Reply{Answer: Extended, Promised: s.Promised}
}

func (s State) drain(marks Marks, f flaws) (State, Reply) {
	if s.Fenced() {
		return s, Reply{Answer: Refused, Promised: s.Promised}
	}
	s = s.freeze(marks)
	s.Draining = !f.has(conceded)
	return s, Reply{Answer: Drained, Watermark: s.Frozen}
}

func (s State) resume() (State, Reply) {
	if s.Fenced() {
		return s, Reply{Answer: Refused, Promised: s.Promised}
	}
	s.Draining, s.Frozen = false, 0
	return s, Reply{Answer: Resumed}
}

func (s State) renew(c Command, f flaws) (State, Reply) {
	if c.Known.Epoch == 0 || c.Duration <= 0 || c.Duration > MaxLease {
		return s, Reply{Answer: Invalid}
	}
	if s.Fenced() { // draining stops writes only
		return s, Reply{Answer: Refused, Promised: s.Promised}
	}
	granted, ok := s.Lease.renew(c.Known, c.Duration, c.Lapsed, f)
	if !ok {
		return s, Reply{Answer: Occupied, Lease: s.Lease}
	}
	s.Lease = granted
	return s, Reply{Answer: Granted, Lease: s.Lease}
}

// bar forbids all votes, and takes the place of the lease that may have been granted and forgotten.
func (s State) bar(d time.Duration) State {
	s.Barred = math.MaxUint64
	s.Lease = Lease{Holder: Life{DC: forgotten}, Duration: min(max(d, 0), MaxLease), Number: s.Lease.Number + 1}
	return s
}

// forgotten holds a lease whose holder is not known any more; no datacenter has this name.
const forgotten = "?"
