package health

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Cause tells why a peer is not heard from.
type Cause string

// The causes.
const (
	NoCause    Cause = ""            // it is heard from
	PeerDown   Cause = "dc down"     // nobody who can be asked hears it
	LinkBroken Cause = "link broken" // others hear it, this DC does not
	OneWay     Cause = "one-way"     // only one of the two directions works
	Undecided  Cause = "unknown"     // nobody can be asked
)

// Causes lists all but [NoCause].
func Causes() []Cause { return []Cause{PeerDown, LinkBroken, OneWay, Undecided} }

// Opinion is how a DC sees another one.
type Opinion struct {
	DC      string         // whose opinion it is
	State   State          // of the other one, there
	Ack     *time.Duration // since the other one's last ack came there; nil for never
	Contact *time.Duration // since it was last heard from there in any way; nil for never
}

func fresh(age *time.Duration, within time.Duration) bool { return age != nil && *age < within }

// Evidence is what is known of the ways between this DC and a peer.
type Evidence struct {
	Within time.Duration // what is older than that is silence

	Acks    bool // its acks come in: the connection that it makes works
	Answers bool // it answers on the connection that this DC makes
	// Mine is what the peer says of this DC; nil when it did not say anything lately.
	Mine *Opinion
	// Others are the fresh opinions of other DCs on the peer.
	Others []Opinion
}

// Judge tells a dead DC from a broken link. It says nothing of a peer with which both directions work, whatever
// its health: then that has a reason of its own.
func (e Evidence) Judge() (Cause, string) {
	switch {
	case e.Acks && e.Answers && e.Mine != nil && !fresh(e.Mine.Ack, e.Within):
		return OneWay, "it answers, but says that no ack of this datacenter arrives there"
	case e.Acks && e.Answers:
		return NoCause, ""
	case e.Answers:
		return OneWay, "this datacenter reaches it, it does not reach this datacenter"
	case e.Acks:
		return OneWay, "it reaches this datacenter, this datacenter does not reach it"
	}
	var hear, deaf []string
	for _, o := range e.Others {
		if fresh(o.Contact, e.Within) {
			hear = append(hear, o.DC)
		} else {
			deaf = append(deaf, o.DC)
		}
	}
	slices.Sort(hear)
	slices.Sort(deaf)
	switch {
	case len(hear) > 0:
		return LinkBroken, fmt.Sprintf("%s %s it", strings.Join(hear, ", "), verb(hear))
	case len(deaf) > 0:
		return PeerDown, fmt.Sprintf("not heard by %s either", strings.Join(deaf, ", "))
	default:
		return Undecided, "no other datacenter can be asked"
	}
}

// Verdict is a cause that has stood for a while. Both directions do not fall silent in the same moment, so the
// first look at a silence is not to be believed. The zero Verdict is [NoCause].
type Verdict struct {
	Cause  Cause
	Detail string
	Since  time.Time

	next  Cause // what the evidence says now, if that is another
	since time.Time
}

// Step returns the verdict after a look at the evidence, and whether the cause is another one now.
func (v Verdict) Step(hold time.Duration, at time.Time, e Evidence) (_ Verdict, changed bool) {
	c, detail := e.Judge()
	switch {
	case c == v.Cause:
		v.Detail, v.next = detail, c
	case c != v.next:
		v.next, v.since = c, at
	case at.Sub(v.since) >= hold:
		return Verdict{Cause: c, Detail: detail, Since: at, next: c}, true
	}
	return v, false
}

func verb(names []string) string {
	if len(names) == 1 {
		return "hears"
	}
	return "hear"
}
