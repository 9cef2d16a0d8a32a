package registrar

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"geogate/replication/homes"
)

// Standing says what this datacenter may do with a keyspace at this moment. Whoever reads under it must ask again
// after reading and before answering: the lease may have run out meanwhile.
type Standing struct {
	Keyspace string
	Home     homes.Life // of epoch 0: nobody
	Epoch    uint64
	Here     bool      // writes are taken: this datacenter is home, has all of the past, holds the lease, no move is open
	Reading  bool      // linearizable reads may be served: as Here, and while the home drains too
	Until    time.Time // the lease; zero when none is held, or needed: a forced home serves without one
	Why      string    // why Here is false; empty when it is true
}

// Standing is where a keyspace stands here, by the state that this node has applied.
func (r *Registrar) Standing(keyspace string) Standing {
	k := r.keepers[keyspace]
	if k == nil {
		return Standing{Keyspace: keyspace, Why: fmt.Sprintf("no single-writer keyspace has the prefix %q", keyspace)}
	}
	return k.standing()
}

func (k *keeper) standing() Standing {
	reg := k.register()
	v, life := reg.State.Decided, k.r.cfg.Acceptor.Life()
	s := Standing{Keyspace: k.cfg.Prefix, Home: v.Home, Epoch: v.Epoch}
	switch {
	case v.Epoch == 0:
		s.Why = "no home yet: a majority of datacenters has not been reached since the keyspace was configured"
		return s
	case v.Home.DC == life.DC && v.Home != life:
		s.Why = fmt.Sprintf("home is %s, the life of this datacenter before it was restored: move the home with `geogate dr failover`", v.Home)
		return s
	case v.Home != life:
		s.Why = fmt.Sprintf("home is %s in epoch %d", v.Home.DC, v.Epoch)
		return s
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.covered != v.Epoch && v.Covered(k.r.cfg.Acceptor.AppliedOf) {
		k.covered = v.Epoch
	}
	switch {
	case k.diverged != "":
		s.Why = "two homes were decided in one epoch: " + k.diverged
		return s
	case slices.Contains(k.r.cfg.Acceptor.Overrunning(), k.cfg.Prefix):
		s.Why = "writes that the decision leaves out are still being taken back"
		return s
	case k.covered != v.Epoch:
		s.Why = "writes of earlier homes are still being fetched: " + k.missing(v.Past)
		return s
	case k.epoch == v.Epoch && k.conceded, reg.State.Vote.Ballot == homes.Ballot{DC: life.DC} && reg.State.Vote.Value.Epoch != 0:
		s.Why = fmt.Sprintf("a switchover from %s is being decided", life.DC)
		return s
	}
	s.Why = k.leaseLocked(&s, v)
	switch {
	case reg.State.Fenced():
		s.Why = fmt.Sprintf("a move of the home is open, by ballot %s", reg.State.Promised)
	case reg.State.Draining:
		s.Why = "a switchover has stopped writes at the home; they go on in a moment at the next one, or here"
	}
	s.Here = s.Why == ""
	return s
}

// leaseLocked fills in the lease, and says why there is none.
func (k *keeper) leaseLocked(s *Standing, v homes.Value) string {
	t := k.tenancyLocked(v.Epoch)
	if t == nil || !k.own {
		if v.Forced {
			s.Reading = true
			return ""
		}
		return "the home has no lease yet: " + k.lackLocked()
	}
	now := k.r.cfg.Uptime()
	until, ok := t.Until()
	if ok && now < until {
		s.Until, s.Reading = k.r.cfg.Clock().Add(until-now), true
		return ""
	}
	if v.Forced {
		s.Reading = true
		return ""
	}
	return "the home's lease of a majority has run out: " + k.lackLocked()
}

func (k *keeper) tenancyLocked(epoch uint64) *homes.Tenancy {
	if k.epoch != epoch {
		return nil
	}
	return k.tenancy
}

// lackLocked says what the acceptors answered that did not grant.
func (k *keeper) lackLocked() string {
	var parts []string
	if k.tenancy != nil {
		for _, v := range k.r.cfg.Voters {
			if a, ok := k.answers[v.DC]; ok && a.text == "" {
				parts = append(parts, v.DC+" grants it")
			}
		}
	}
	for _, v := range k.r.cfg.Voters {
		a, ok := k.answers[v.DC]
		switch {
		case !ok:
			parts = append(parts, v.DC+": no answer yet")
		case a.text != "":
			parts = append(parts, v.DC+": "+a.text)
		}
	}
	return fmt.Sprintf("%d of %d are needed; %s", k.r.cfg.majority(), len(k.r.cfg.Voters), strings.Join(parts, "; "))
}

// missing says what of the past is not here.
func (k *keeper) missing(past []homes.Tenure) string {
	var parts []string
	for _, t := range past {
		if at := k.r.cfg.Acceptor.AppliedOf(t.Home); at < t.Cut {
			parts = append(parts, fmt.Sprintf("of %s %d of %d", t.Home.DC, at, t.Cut))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
