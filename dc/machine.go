package dc

import (
	"fmt"
	"io"

	"geogate/consensus"
	"geogate/dc/store"
)

// Apply implements [consensus.StateMachine].
func (d *DC) Apply(entries []consensus.Entry) error {
	for i := range entries {
		if err := d.applyEntry(&entries[i]); err != nil {
			return fmt.Errorf("apply entry %d: %w", entries[i].Index, err)
		}
	}
	return nil
}

func (d *DC) applyEntry(raw *consensus.Entry) error {
	e := &d.scratch.entry
	e.reset()
	if len(raw.Data) > 0 {
		if err := e.unmarshal(raw.Data); err != nil {
			return err // no replica may go on without an entry that it can't read
		}
	}
	b, err := d.store.Begin()
	if err != nil {
		return err
	}
	at := store.Applied{Index: raw.Index, Term: raw.Term, Conf: d.conf}
	run := applier{dc: d, batch: b, entry: e, index: raw.Index, ops: d.scratch.ops}
	if e.proposer == d.queue.proposer {
		run.waiting = d.queue.applied(e.first)
	}
	if err := run.apply(); err != nil {
		b.Abort(err)
		return err
	}
	d.leases.applied(raw.Term)
	b.Commit(at)
	d.queue.supersede(raw.Term)
	d.publish(raw.Index)
	run.answer()
	d.scratch.txns, d.scratch.ops = run.frame.Txns, run.ops
	d.scratch.release()
	return nil
}

// SetConf implements [consensus.StateMachine].
func (d *DC) SetConf(_ uint64, conf []byte) { d.conf = conf }

// Durable implements [consensus.StateMachine].
func (d *DC) Durable() consensus.Applied { return consensusApplied(d.store.Durable()) }

// Size implements [consensus.StateMachine].
func (d *DC) Size() int64 { return d.store.DBSize() }

// Snapshot implements [consensus.StateMachine].
func (d *DC) Snapshot() (consensus.Snapshot, error) {
	at, size, rc, err := d.store.Snapshot()
	if err != nil {
		return consensus.Snapshot{}, err
	}
	return consensus.Snapshot{Applied: consensusApplied(at), Size: size, ReadCloser: rc}, nil
}

// Restore implements [consensus.StateMachine].
func (d *DC) Restore(at consensus.Applied, r io.Reader) error {
	if err := d.store.Restore(store.Applied{Index: at.Index, Term: at.Term, Conf: at.ConfState}, r); err != nil {
		return err
	}
	d.conf = at.ConfState
	s, err := loadState(d.store.Meta)
	if err != nil {
		return err
	}
	d.state = s
	d.replica.mark = replicaMark{} // of what is no more
	d.replica.told.Store(nil)
	d.metrics.showAlarms(s.alarms)
	d.metrics.showRestored(s.restored)
	if err := d.leases.load(d.store); err != nil {
		return err
	}
	if err := d.loadHomes(); err != nil {
		return err
	}
	if err := d.loadAuth(); err != nil {
		return err
	}
	d.clock.Observe(s.high)
	d.queue.supersede(at.Term)
	d.publish(at.Index)
	return nil
}

func consensusApplied(a store.Applied) consensus.Applied {
	return consensus.Applied{Index: a.Index, Term: a.Term, ConfState: a.Conf}
}

// LeaderChanged implements [consensus.StateMachine].
func (d *DC) LeaderChanged(term, leader uint64, leading bool) {
	d.leadership.set(term, leader, leading)
	d.queue.setLeading(leading, ErrNotLeader)
	d.leases.lead(term, leading)
	if leading && d.state.incarnation == 0 {
		if _, err := d.queue.add(item{kind: kindInit, payload: encodeUint64(newID())}); err != nil {
			d.log.Error("could not propose the incarnation of this datacenter's data", "error", err)
		}
	}
	d.state.auth.asked = false
	d.provideSecret()
}
