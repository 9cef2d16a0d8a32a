package dc

import (
	"fmt"

	"geogate/replication/event"
	"geogate/replication/homes"
)

// judged is a frame without the transactions that must be set aside; held says why it may not be applied now.
// Frames without a write of a single-writer keyspace are as they were. A frame is one unit: one write that must wait
// holds all of it.
func (a *applier) judged(f *event.Frame) (out *event.Frame, lost []*event.Txn, held error) {
	first := -1
	for i := range f.Txns {
		if f.Txns[i].Home != nil {
			first = i
			break
		}
	}
	if first < 0 {
		return f, nil, nil
	}
	keep := *f
	keep.Txns = f.Txns[:first:first]
	size := int64(0)
	for i := first; i < len(f.Txns); i++ {
		t := &f.Txns[i]
		verdict, why := a.judge(f, t)
		switch verdict {
		case homes.Hold:
			return nil, nil, fmt.Errorf("%w: revision %d of %s is of keyspace %q in epoch %d: %s",
				event.ErrHeld, t.Revision, f.Origin, t.Home.Keyspace, t.Home.Epoch, why)
		case homes.Apply:
			keep.Txns = append(keep.Txns, *t)
		default:
			lost = append(lost, t)
			for j := range t.Ops {
				size += int64(len(t.Ops[j].Key)+2*len(t.Ops[j].Value)+len(t.Home.Keyspace)+len(f.Origin)) + asideOverhead
			}
		}
	}
	if len(lost) > 0 && !a.roomAside(size) {
		a.dc.metrics.showAside(&a.dc.state.homes.aside, true)
		return nil, nil, fmt.Errorf("%w: no room to set aside %d writes of %s: %d bytes are kept, the limit is %d; discard some",
			event.ErrHeld, len(lost), f.Origin, a.dc.state.homes.aside.bytes, a.dc.cfg.maxAside())
	}
	return &keep, lost, nil
}

// judge says what is done with one transaction, and for one that waits, why.
func (a *applier) judge(f *event.Frame, t *event.Txn) (homes.Verdict, string) {
	if t.Home == nil {
		return homes.Apply, ""
	}
	r := a.dc.state.homes.regs[t.Home.Keyspace]
	if r == nil {
		return homes.Hold, "nothing is known of this keyspace here yet"
	}
	w := homes.Write{Epoch: t.Home.Epoch, Home: homes.Life{DC: f.Origin, Incarnation: f.Incarnation}, Revision: t.Revision}
	marks := a.dc.marks()
	if r.covered && w.Epoch == r.state.Decided.Epoch {
		marks = everything // not looked at again
	}
	verdict := r.state.Judge(w, marks)
	switch {
	case verdict == homes.Apply && w.Epoch == r.state.Decided.Epoch && !r.covered:
		r.covered = true
	case verdict == homes.Hold && w.Epoch > r.state.Decided.Epoch:
		return verdict, fmt.Sprintf("here epoch %d is known", r.state.Decided.Epoch)
	case verdict == homes.Hold && r.state.Fenced():
		return verdict, "a move is open"
	case verdict == homes.Hold:
		return verdict, "writes of the homes before are missing"
	}
	if verdict == homes.Apply && r.overrun != nil {
		return homes.Hold, "writes that don't count are being taken back"
	}
	return verdict, ""
}

// setAsideTxns keeps what was judged not to count.
func (a *applier) setAsideTxns(f *event.Frame, lost []*event.Txn) error {
	for _, t := range lost {
		for i := range t.Ops {
			op := &t.Ops[i]
			w := aside{
				keyspace: t.Home.Keyspace, epoch: t.Home.Epoch, origin: homes.Life{DC: f.Origin, Incarnation: f.Incarnation},
				revision: t.Revision, stamp: t.Stamp, key: op.Key, value: op.Value, lease: op.Lease,
				deleted: op.Kind == event.OpDelete, at: a.dc.state.high,
			}
			old, err := a.counting(t.Home, op.Key)
			if err != nil {
				return err
			}
			w.base = a.baseOf(t.Home, op.Key, old)
			if old != nil && !old.Deleted {
				w.old, w.existed = old.Value, true
			}
			a.setAside(&w)
		}
	}
	if len(lost) > 0 {
		a.dc.metrics.showAside(&a.dc.state.homes.aside, false)
		a.dc.log.Warn("writes of a home that had ended were set aside", "origin", f.Origin, "transactions", len(lost), "first_revision", lost[0].Revision,
			"keyspace", lost[0].Home.Keyspace, "epoch", lost[0].Home.Epoch)
	}
	return nil
}
