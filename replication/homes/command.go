package homes

import (
	"fmt"
	"time"
)

// Kind says what a command asks of an acceptor; the numbers are part of the format.
type Kind uint8

// The kinds of commands. Those marked local never come from another datacenter.
const (
	Prepare Kind = 1  // promise a ballot, and fence the home of Known
	Accept  Kind = 2  // vote for Value
	Learn   Kind = 3  // Known is decided
	Extend  Kind = 4  // local: the next home may apply up to the cut of Value under Ballot
	Drain   Kind = 5  // local: the home refuses writes from here on
	Resume  Kind = 6  // local: a drained home takes writes again
	Renew   Kind = 7  // lease for the home of Known
	Force   Kind = 8  // Known is what an operator forced
	Bar     Kind = 9  // local: this acceptor's past is lost, it must not vote
	Admit   Kind = 10 // local: a barred acceptor may vote above epoch UpTo
)

var kindNames = [...]string{Prepare: "prepare", Accept: "accept", Learn: "learn", Extend: "extend", Drain: "drain",
	Resume: "resume", Renew: "renew", Force: "force", Bar: "bar", Admit: "admit"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Local says whether only the acceptor's own datacenter may send it; refuse it from anyone else.
func (k Kind) Local() bool {
	return k == Extend || k == Drain || k == Resume || k == Bar || k == Admit
}

// Command is a message to an acceptor. It is durable and takes effect when the Raft group of the acceptor's
// datacenter applies it.
type Command struct {
	Kind     Kind
	Keyspace string // prefix of the keyspace
	Known    Value  // the decided value that the sender acts upon; an acceptor that is behind learns it
	Ballot   Ballot // of Prepare, Accept, Extend
	Value    Value  // of Accept, Extend
	// First, in a datacenter's command to its own acceptor, makes sure that the ballot was never used before.
	First bool
	// Drained, of Accept by the old home, gives its lease back: it serves no reads and takes no writes any more.
	Drained  bool
	Duration time.Duration // of Renew and Bar: of the lease
	Lapsed   uint64        // of Renew: the lease with this number has run out, by this datacenter's clock
	UpTo     uint64        // of Admit
	// At is now, in Unix nanoseconds by the clock of the acceptor's own leader, when it may learn Known from this command;
	// else 0.
	At int64
}

// Answer says what an acceptor did; the numbers are part of the format.
type Answer uint8

// The answers.
const (
	Promised Answer = 1  // it will take no lower ballot, and has fenced the home
	Accepted Answer = 2  // it voted
	Learned  Answer = 3  // it knows the value
	Extended Answer = 4  // it applies up to the cut
	Drained  Answer = 5  // writes are refused above Watermark
	Resumed  Answer = 6  // writes are taken again
	Granted  Answer = 7  // the home has its lease here
	Occupied Answer = 8  // an earlier home may still hold Lease here
	Refused  Answer = 9  // a higher ballot is promised, or the home is fenced here
	Behind   Answer = 10 // the sender doesn't know the latest decision, which is in Decided
	Barred   Answer = 11 // this acceptor lost its past and doesn't vote yet
	Admitted Answer = 12 // it may vote again
	Invalid  Answer = 13 // no proposer of this build sends that; look for a bug or a forger
	Diverged Answer = 14 // two values were decided in one epoch without force: an invariant is broken
)

var answerNames = [...]string{Promised: "promised", Accepted: "accepted", Learned: "learned", Extended: "extended",
	Drained: "drained", Resumed: "resumed", Granted: "granted", Occupied: "occupied", Refused: "refused", Behind: "behind",
	Barred: "barred", Admitted: "admitted", Invalid: "invalid", Diverged: "diverged"}

func (a Answer) String() string {
	if int(a) < len(answerNames) && answerNames[a] != "" {
		return answerNames[a]
	}
	return fmt.Sprintf("Answer(%d)", uint8(a))
}

// Reply is an acceptor's answer. It may be sent only after the Raft group has applied the command.
type Reply struct {
	Answer    Answer
	Keyspace  string
	Epoch     uint64   // of the command's Known: tells late replies apart
	Ballot    Ballot   // of the command
	Promised  Ballot   // the highest promised one
	Vote      Proposal // of Promised: what it voted for before
	Watermark int64    // of Promised, Drained, Learned: what it has applied of the home of Known
	Data      bool     // of Promised, Learned: it is no witness, Watermark counts
	Lease     Lease    // of Promised, Granted, Occupied
	Decided   Value    // of Behind, Diverged
	// Quiet, of Learned, says that it has promised and voted for nothing beyond Known, and would remember it. Lost says that it
	// would not: it is barred. Older builds say neither.
	Quiet, Lost bool
	// AtHome, of Learned, says that the home is this datacenter, in this life: Watermark is the home's head. The acceptor
	// can't tell; whoever runs it adds that.
	AtHome bool
}

// Proposal is a value under a ballot.
type Proposal struct {
	Ballot Ballot
	Value  Value // of epoch 0 when there is none
}
