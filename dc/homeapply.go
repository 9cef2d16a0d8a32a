package dc

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"geogate/replication/event"
	"geogate/replication/homes"
)

// homeNote is what an item of kind 15 without a command asks for: to discard writes that were set aside, or
// nothing, and then to go on with what is to be taken back.
type homeNote struct {
	Keyspace string   `json:"keyspace,omitempty"`
	Discard  []uint64 `json:"discard,omitempty"`
}

// home applies a command to the register of a keyspace. The local writes of the entry are in their frame
// already, so the marks that it sees are those of all that was applied before it.
func (a *applier) home(it *item) (result, error) {
	switch {
	case len(it.payload) == 0 && isMulti(it.note):
		return result{}, a.multiWriter(it.note)
	case len(it.payload) == 0:
		return result{}, a.homeNote(it.note)
	}
	c, err := homes.DecodeCommand(it.payload)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	t := &a.dc.state.homes
	r := t.regs[c.Keyspace]
	if r == nil {
		if len(t.regs) >= maxRegisters || len(c.Keyspace) > MaxKeyspace {
			return result{reply: &homes.Reply{Answer: homes.Invalid, Keyspace: c.Keyspace, Epoch: c.Known.Epoch, Ballot: c.Ballot}}, nil
		}
		r = &register{keyspace: c.Keyspace}
		if t.lost > 0 {
			r.state, _ = r.state.Apply(homes.Command{Kind: homes.Bar, Keyspace: c.Keyspace, Duration: t.lost}, nil)
		}
	}
	old := r.state
	next, reply := old.Apply(c, a.dc.marks())
	r.state = next
	if reply.Answer == homes.Diverged {
		a.dc.metrics.homes.diverged.Inc()
		a.dc.log.Error("two homes were decided in one epoch: stop the clients of this keyspace and compare the datacenters",
			"keyspace", c.Keyspace, "here", old.Decided.String(), "there", c.Known.String())
	}
	if next.Lease != old.Lease {
		r.granted = time.Now()
	}
	if string(next.Encode()) == string(old.Encode()) {
		return result{reply: &reply}, nil
	}
	if len(t.regs) == 0 {
		a.beginToKeep()
	}
	if !next.Decided.Equal(old.Decided) {
		if err := a.learned(r, old.Decided); err != nil {
			return result{}, err
		}
	}
	a.saveRegister(r)
	return result{reply: &reply}, nil
}

// learned takes note of another decision: what was applied and doesn't count any more is taken back, as much of it as
// one step may; the leader proposes the others.
func (a *applier) learned(r *register, old homes.Value) error {
	next := r.state.Decided
	r.home, r.covered = nil, false
	lost := tails(old, next, r.starts, a.appliedOrReached)
	for i := range lost {
		lost[i].scan = a.dc.state.dropped[lost[i].dc] > lost[i].after
		a.dc.log.Warn("writes of a home that ended don't count: they are taken back and set aside", "keyspace", r.keyspace,
			"home", lost[i].dc, "behind", lost[i].after, "up_to", lost[i].upTo)
	}
	r.lost = append(r.lost, lost...)
	r.lost = r.lost[max(0, len(r.lost)-maxLost):]
	r.starts = startsOf(next, r.starts, a.dc.state.applied)
	if len(lost) > 0 || a.dc.state.homes.aside.writes > 0 {
		if r.overrun != nil {
			lost = append(r.overrun.tails, lost...)
		}
		r.overrun = &overrun{tails: lost}
	}
	a.dc.metrics.homes.learned.Inc()
	a.dc.log.Info("home of a keyspace has changed", "keyspace", r.keyspace, "from", old.String(), "to", next.String())
	return a.takeBackSome(r)
}

// startsOf are the starts of the tenures of a value: those that are known, and for the others where the home's chain
// is now.
func startsOf(v homes.Value, known []tenureStart, applied func(homes.Life) int64) (out []tenureStart) {
	for _, t := range append(slices.Clip(v.Past), homes.Tenure{Epoch: v.Epoch, Home: v.Home}) {
		i := slices.IndexFunc(known, func(s tenureStart) bool { return s.epoch == t.Epoch && s.home == t.Home })
		if i >= 0 {
			out = append(out, known[i])
		} else {
			out = append(out, tenureStart{epoch: t.Epoch, home: t.Home, revision: applied(t.Home)})
		}
	}
	return out
}

// tails are the parts of chains that a decision makes void in this DC: applied under the one before, and beyond what
// counts of their tenures by the new one. Tenures that the new value has dropped are settled: everyone has them and
// knows their end.
func tails(old, next homes.Value, starts []tenureStart, applied func(homes.Life) int64) (out []tail) {
	if old.Epoch == 0 {
		return nil
	}
	first := next.Epoch
	if len(next.Past) > 0 {
		first = next.Past[0].Epoch
	}
	const all = int64(1)<<62 - 1
	for _, t := range append(slices.Clip(old.Past), homes.Tenure{Epoch: old.Epoch, Home: old.Home, Cut: all}) {
		counts := before(t, next, starts)
		same := func(x homes.Tenure) bool { return x.Epoch == t.Epoch && x.Home == t.Home }
		switch i := slices.IndexFunc(next.Past, same); {
		case next.Epoch == t.Epoch && next.Home == t.Home:
			counts = all
		case i >= 0:
			counts = max(counts, next.Past[i].Cut)
		case t.Epoch < first:
			continue
		} // else it is of a side that lost against an operator's --force: nothing of it counts
		if upTo := min(applied(t.Home), t.Cut); upTo > counts {
			out = append(out, tail{dc: t.Home.DC, life: t.Home.Incarnation, after: counts, upTo: upTo})
		}
	}
	return out
}

// before is a revision of a home behind which all its writes of a tenure are, and none that counts by an earlier one: a
// home that follows itself may have a lower cut in the second epoch than in the first.
func before(t homes.Tenure, next homes.Value, starts []tenureStart) int64 {
	r := int64(1) // no write has that revision, but a grave where nothing was known: see graveBefore
	for _, s := range starts {
		if s.epoch == t.Epoch && s.home == t.Home {
			r = max(r, s.revision)
		}
	}
	for _, p := range next.Past {
		if p.Home == t.Home && p.Epoch < t.Epoch {
			r = max(r, p.Cut)
		}
	}
	return r
}

// appliedOrReached is how far this DC may have effects of a life.
func (a *applier) appliedOrReached(l homes.Life) int64 {
	s := &a.dc.state
	return max(s.applied(l), s.reach[life{l.DC, l.Incarnation}])
}

// writable is the register of a keyspace that this DC may write, or why it may not.
func (a *applier) writable(keyspace []byte) (*register, error) {
	r := a.dc.state.homes.regs[string(keyspace)]
	if r == nil {
		return nil, &NotHomeError{Keyspace: string(keyspace), Why: "nothing is known of this keyspace"}
	}
	if why := a.dc.closed(r); why != "" {
		return nil, &NotHomeError{Keyspace: r.keyspace, State: r.state, Why: why}
	}
	if r.home == nil {
		r.home = &event.Home{Keyspace: r.keyspace, Epoch: r.state.Decided.Epoch}
	}
	return r, nil
}

// closed says why this DC may not write to a keyspace, "" when it may.
func (d *DC) closed(r *register) string {
	switch s := &r.state; {
	case s.Decided.Epoch == 0:
		return "no home is decided"
	case s.Decided.Home != d.life():
		return "another datacenter is the home"
	case s.Fenced():
		return "a move is open"
	case s.Draining:
		return "it is being handed over"
	case r.overrun != nil:
		return "writes that don't count are being taken back"
	case !r.covered && !s.Decided.Covered(d.marks()):
		return "writes of the homes before are missing"
	}
	r.covered = true
	return ""
}

// lostRequest says whether what is remembered of a request was set aside since.
func (r *register) lostRequest(rec *record) bool {
	return slices.ContainsFunc(r.lost, func(t tail) bool {
		return rec.origin == t.dc && rec.revision > t.after && rec.revision <= t.upTo
	})
}

// homeNote discards writes that were set aside, or goes on with what is to be taken back.
func (a *applier) homeNote(raw []byte) error {
	var n homeNote
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &n); err != nil {
			return fmt.Errorf("%w: note of a home: %w", ErrMalformed, err)
		}
	}
	slices.SortFunc(n.Discard, cmp.Compare[uint64])
	for _, id := range slices.Compact(n.Discard) {
		a.discard(n.Keyspace, id)
	}
	for _, r := range a.dc.state.homes.order {
		if r.overrun != nil {
			if err := a.takeBackSome(r); err != nil {
				return err
			}
			a.saveRegister(r)
		}
	}
	return nil
}
