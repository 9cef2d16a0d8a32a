package registrar

import (
	"context"
	"slices"
	"time"

	"geogate/replication/homes"
)

// look does what is due for the keyspace and nobody asked for: see the table "own acceptor after a restart" in
// replication/homes/README.md.
func (k *keeper) look(ctx context.Context) {
	reg := k.register()
	life := k.r.cfg.Acceptor.Life()
	now := k.r.cfg.Clock()
	k.note(reg, now)
	if life.Incarnation == 0 || k.stuck() {
		return
	}
	state := reg.State
	home := state.Decided.Epoch > 0 && state.Decided.Home == life
	switch {
	case state.Barred > state.Decided.Epoch:
		k.readmit(ctx, state, now) // it can't do anything else before
	case k.busy(now):
	case state.Decided.Epoch == 0 && k.cfg.Home == life.DC && !state.Fenced():
		k.begin(now, Founding, life)
	case state.Fenced() || home && k.refusedElsewhere():
		if !k.reclaim(reg, home, now) && !home {
			k.failOver(state, now) // who fenced it may be down as well
		}
	case state.Draining:
		k.resume(ctx)
	case home && state.Decided.Forced && k.standing().Until != (time.Time{}):
		k.begin(now, Confirming, life) // a majority has granted, so it can be reached
	case !home:
		k.failOver(state, now)
	}
}

// note keeps the metrics and the log up to date.
func (k *keeper) note(reg homes.Register, now time.Time) {
	m, prefix := k.r.cfg.Metrics, k.cfg.Prefix
	v := reg.State.Decided
	s := k.standing()
	m.epoch.WithLabelValues(prefix).Set(float64(v.Epoch))
	m.here.WithLabelValues(prefix).Set(flag(s.Here))
	m.fenced.WithLabelValues(prefix).Set(flag(reg.State.Fenced()))
	m.barred.WithLabelValues(prefix).Set(flag(reg.State.Barred > v.Epoch))
	held := 0.0
	if !s.Until.IsZero() {
		held = s.Until.Sub(now).Seconds()
	}
	m.held.WithLabelValues(prefix).Set(held)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.seen || k.noted.Epoch != v.Epoch {
		k.changed = k.movedAtLocked(reg.State, now)
	}
	if k.seen && k.noted.Epoch != v.Epoch {
		k.r.cfg.Logger.Info("home of a keyspace has moved", "keyspace", prefix, "from", k.noted.String(), "to", v.String())
	}
	if k.seen && (k.here != s.Here || k.why != s.Why && s.Home == k.r.cfg.Acceptor.Life()) {
		k.r.cfg.Logger.Info("standing of a keyspace", "keyspace", prefix, "epoch", v.Epoch, "open", s.Here, "why", s.Why)
	}
	k.noted, k.here, k.why, k.seen = v, s.Here, s.Why, true
	if k.fence.epoch != v.Epoch {
		k.fence = fence{epoch: v.Epoch}
	}
	if reg.State.Fenced() {
		k.fence.see(reg.State.Promised, now)
	}
}

// movedAtLocked is when the home was moved to where it is. The acceptor remembers it for the leaders that follow, by the
// clock of the one that led then: where that one was ahead of this node's, it is now.
func (k *keeper) movedAtLocked(s homes.State, now time.Time) time.Time {
	switch {
	case s.Moved > 0:
		return now.Add(-max(0, k.r.cfg.Wall().Sub(time.Unix(0, s.Moved))))
	case k.seen && k.noted.Epoch > 0: // learnt when an older build led
		return now
	}
	return time.Time{}
}

// heldOffLocked is until when no automatic failover is started because the home has just been moved; zero for no such time.
func (k *keeper) heldOffLocked(now time.Time) time.Time {
	if k.changed.IsZero() {
		return time.Time{}
	}
	if until := k.changed.Add(k.cfg.HoldOff); now.Before(until) {
		return until
	}
	return time.Time{}
}

func (k *keeper) stuck() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.diverged != ""
}

// busy says that a move is under way here, or that it is too early for the next one.
func (k *keeper) busy(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.moving != nil || k.closed || now.Before(k.next)
}

func (k *keeper) refusedElsewhere() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fence.open(false)
}

// begin starts a move of the keeper's own. It spaces them, so that two datacenters that do the same do not go on
// outbidding each other.
func (k *keeper) begin(now time.Time, kind MoveKind, target homes.Life) {
	k.mu.Lock()
	k.next = now.Add(k.r.cfg.RivalWait + k.r.cfg.Random(k.r.cfg.RivalWait))
	k.mu.Unlock()
	if _, err := k.start(kind, target, 0); err != nil {
		k.r.cfg.Logger.Warn("move of a home", "keyspace", k.cfg.Prefix, "kind", string(kind), "error", err)
	}
}

// reclaim ends an instance that stands open for too long: the home takes itself as the target, and so loses
// nothing; the datacenter whose own move was interrupted goes on with it. What others began, they or the home end.
func (k *keeper) reclaim(reg homes.Register, home bool, now time.Time) bool {
	life := k.r.cfg.Acceptor.Life()
	k.mu.Lock()
	if k.fence.wait == 0 {
		k.fence.wait = k.r.cfg.ReclaimAfter + k.r.cfg.Random(k.r.cfg.ReclaimAfter)
		if mine := reg.State.Promised; mine.DC == life.DC && (reg.State.Decided.Epoch == 0 || mine.Round == 0 || !k.movedLocked(reg.State.Decided.Epoch)) {
			k.fence.wait = k.r.cfg.Random(k.r.cfg.RivalWait) // nobody else works on it: the node that did leads no more
		}
	}
	due := !k.fence.since.IsZero() && now.Sub(k.fence.since) >= k.fence.wait
	k.mu.Unlock()
	interrupted := reg.State.Promised.DC == life.DC && k.r.cfg.holdsData(life.DC)
	first := reg.State.Decided.Epoch == 0 && k.cfg.Home == life.DC
	if due = due && (home || interrupted || first); due {
		k.begin(now, Reclaiming, life)
	}
	return due
}

// movedLocked says whether this node itself has tried to move the home in an epoch.
func (k *keeper) movedLocked(epoch uint64) bool {
	return slices.ContainsFunc(k.ended, func(m MoveStatus) bool { return m.Epoch == epoch })
}

// resume opens a home that was draining for a switchover which nobody drives any more.
func (k *keeper) resume(ctx context.Context) {
	known := k.register().State.Decided
	reply, err := k.command(ctx, k.r.cfg.Local, homes.Command{Kind: homes.Resume, Keyspace: k.cfg.Prefix, Known: known})
	if err != nil {
		k.r.cfg.Logger.Warn("a home that was draining can't take writes again yet", "keyspace", k.cfg.Prefix, "error", err)
		return
	}
	k.r.cfg.Logger.Info("an interrupted switchover is given up", "keyspace", k.cfg.Prefix, "answer", reply.Answer.String())
}

// failOver starts a failover when the home is down, or began another life, and this datacenter is to do so.
func (k *keeper) failOver(s homes.State, now time.Time) {
	cfg := &k.r.cfg
	life := cfg.Acceptor.Life()
	if !k.cfg.Automatic || !cfg.holdsData(life.DC) || s.Decided.Epoch == 0 {
		return
	}
	down, who := cfg.Carrier.Down(s.Decided.Home.DC)
	if now, known := cfg.Carrier.LifeOf(s.Decided.Home.DC); known && now != s.Decided.Home {
		down, who = true, now.String()+" is there in its place"
	}
	rank := k.rank(s.Decided.Home)
	k.mu.Lock()
	if !down {
		k.downFrom = time.Time{}
	} else if k.downFrom.IsZero() {
		k.downFrom = now
		cfg.Logger.Warn("the home of a keyspace is down", "keyspace", k.cfg.Prefix, "home", s.Decided.Home.DC, "say", who, "rank", rank)
	}
	// Its lease must run out in any case. The next in rank waits for the one before.
	wait := cfg.Lease.Duration + time.Duration(rank)*cfg.ReclaimAfter
	due := down && now.Sub(k.downFrom) >= wait && k.heldOffLocked(now).IsZero()
	k.mu.Unlock()
	if !due {
		return
	}
	cfg.Metrics.automatic.WithLabelValues(k.cfg.Prefix).Inc()
	cfg.Logger.Error("automatic failover begins", "keyspace", k.cfg.Prefix, "home", s.Decided.Home.DC, "down_say", who, "to", life.DC)
	k.begin(now, Automatic, life)
}

// rank counts the datacenters that should become home before this one: those that are up and have more of the
// home's chain, or as much and the lower name. It rests on what they last said; the cut does not.
func (k *keeper) rank(home homes.Life) int {
	own, rank := k.r.cfg.Acceptor.AppliedOf(home), 0
	for _, v := range k.r.cfg.Voters {
		if v.Witness || v.DC == k.r.cfg.Local || v.DC == home.DC {
			continue
		}
		if down, _ := k.r.cfg.Carrier.Down(v.DC); down {
			continue
		}
		if at, known := k.r.cfg.Carrier.AppliedAt(v.DC, home); known && (at > own || at == own && v.DC < k.r.cfg.Local) {
			rank++
		}
	}
	return rank
}
