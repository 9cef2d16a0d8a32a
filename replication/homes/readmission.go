package homes

import (
	"fmt"
	"math"
)

// Readmission lets an acceptor that lost its past vote again, once what it forgot can't matter any more. It asks all
// others about one decision; make another one when the own acceptor has learnt a later one. README.md says why it is safe.
type Readmission struct {
	cfg   Config
	self  Life
	known Value
	said  []Reply // by voter, in the order of cfg; the zero Reply while there is none
	flaws flaws
}

// NewReadmission is about the decision that the barred acceptor of a life knows. Errors wrap [ErrConfig].
func NewReadmission(cfg Config, self Life, known Value) (*Readmission, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Readmission{cfg: cfg, self: self, known: known, said: make([]Reply, len(cfg.Voters))}, nil
}

// Known is the decision that it is about.
func (r *Readmission) Known() Value { return r.known }

// Due is who has not said what is needed, to be asked with a learn of Known that was not sent before the acceptor was barred.
func (r *Readmission) Due() (dcs []string) {
	for i, v := range r.cfg.Voters {
		if v.DC != r.self.DC && !r.settled(r.said[i]) {
			dcs = append(dcs, v.DC)
		}
	}
	return dcs
}

// Step takes an answer; UpTo and Lacks may have changed. Where another one has lost its past, too, those who remember must be
// asked after it was heard of: until then it may have gone on with what it had begun.
func (r *Readmission) Step(dc string, reply Reply) {
	if reply.Epoch != r.known.Epoch || reply.Answer != Learned && reply.Answer != Behind {
		return
	}
	for i, v := range r.cfg.Voters {
		if v.DC != dc {
			continue
		}
		if reply.Lost && !r.said[i].Lost {
			for j := range r.said {
				r.said[j].Quiet = false
			}
		}
		r.said[i] = reply
	}
}

func (r *Readmission) settled(reply Reply) bool {
	return reply.Answer == Learned && (reply.Quiet || reply.Lost || r.flaws.has(openMoveOverlooked))
}

// lost counts those that lost their past, this one included.
func (r *Readmission) lost() int {
	n := 1
	for _, s := range r.said {
		if s.Lost {
			n++
		}
	}
	return n
}

// tooMany says that a majority lost its past: it may have decided what nobody knows any more. An operator who forced a home
// since has taken that into account.
func (r *Readmission) tooMany() bool { return r.lost() >= r.cfg.Majority() && !r.known.Forced }

// UpTo is up to which epoch the acceptor must not vote; the highest number while that isn't known. Marks are its own.
//
// With a word of each of the others, none of which knows of anything beyond Known, it may vote on what comes next once it has
// all that it may have acknowledged. With a word of a majority of them, who remember, it may vote above what they can be voting on.
func (r *Readmission) UpTo(marks Marks) uint64 {
	heard, highest := 0, r.known.Epoch
	for _, s := range r.said {
		if s.Answer != 0 && !s.Lost {
			heard++
			highest = max(highest, s.Decided.Epoch)
		}
	}
	others := len(r.cfg.Voters) - 1
	switch _, _, caughtUp := r.progress(marks); {
	case len(r.Due()) == 0 && !r.tooMany() && caughtUp:
		return r.known.Epoch
	case others == 0 || heard >= others/2+1:
		return highest + 1
	}
	return math.MaxUint64
}

// progress is up to which revision the acceptor's datacenter has applied the home's chain, and up to where it must have.
func (r *Readmission) progress(marks Marks) (has, needs int64, caughtUp bool) {
	home := r.known.Home
	if marks == nil || r.known.Epoch == 0 || home == r.self || r.flaws.has(admittedBehind) {
		return 0, 0, true // it acknowledged nothing
	}
	for i, v := range r.cfg.Voters {
		if s := r.said[i]; v.DC == home.DC && s.AtHome && r.settled(s) {
			has, needs = marks(home), s.Watermark
			return has, needs, has >= needs
		}
	}
	return 0, 0, false
}

// Lacks says what the acceptor waits for before it votes on what comes next; empty when it needs not wait.
func (r *Readmission) Lacks(marks Marks) (parts []string) {
	for i, v := range r.cfg.Voters {
		switch s := r.said[i]; {
		case v.DC == r.self.DC || r.settled(s):
		case s.Answer == 0:
			parts = append(parts, "no answer of "+v.DC)
		case s.Answer == Behind:
			parts = append(parts, v.DC+" knows a later home")
		default:
			parts = append(parts, "a move is open at "+v.DC+", or its build is older")
		}
	}
	if r.tooMany() {
		parts = append(parts, fmt.Sprintf("%d of %d datacenters are new or lost their data: force the home to one that has it", r.lost(), len(r.cfg.Voters)))
	}
	if len(parts) > 0 {
		return parts
	}
	switch has, needs, caughtUp := r.progress(marks); {
	case caughtUp:
		return nil
	case needs == 0:
		return []string{fmt.Sprintf("the home %s is a life that has ended: move it", r.known.Home)}
	default:
		return []string{fmt.Sprintf("%d of %d revisions of %s are here", has, needs, r.known.Home.DC)}
	}
}
