package dc

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"geogate/dc/auth"
	"geogate/dc/store"
	"geogate/replication/event"
)

// applier evaluates one entry.
type applier struct {
	dc      *DC
	batch   *store.Batch
	entry   *entry
	index   uint64     // of the entry in the log
	waiting []*pending // the proposals of this process, in the entry's order; nil elsewhere

	results []result // only with waiting; nobody asks for them elsewhere
	frame   event.Frame
	seen    []byte
	ops     []event.Op // of the frame's transactions, see roomForOps
}

func (a *applier) apply() error {
	s := &a.dc.state
	a.seen = s.seen()
	own := s.positions[a.dc.cfg.Name]
	a.frame = event.Frame{
		Origin: a.dc.cfg.Name, Incarnation: s.incarnation,
		PrevRevision: own.Revision, PrevHash: own.Hash, Txns: a.dc.scratch.txns,
	}
	if a.waiting != nil {
		a.results = a.dc.scratch.resultsOf(len(a.entry.items))
	}
	high := s.high
	sealed := false
	for i := range a.entry.items {
		it := &a.entry.items[i]
		if it.kind.afterWrites() && !sealed {
			// Frames and bookkeeping come last: the frame of the local writes is complete.
			if err := a.seal(); err != nil {
				return err
			}
			sealed = true
		}
		r, err := a.item(it, a.entry.stamp+event.Stamp(i))
		if err != nil {
			return fmt.Errorf("item %d of kind %d: %w", i, it.kind, err)
		}
		if a.results != nil {
			a.results[i] = r
		}
	}
	if !sealed {
		if err := a.seal(); err != nil {
			return err
		}
	}
	a.settle()
	a.settleHomes()
	a.users() // what is published behind the batch
	if s.high != high {
		a.batch.SetMeta(metaHigh, encodeUint64(uint64(s.high)))
		a.dc.clock.Observe(s.high)
	}
	return nil
}

// item applies one item. An error is a failure of this replica; what the client is told is in the result.
func (a *applier) item(it *item, stamp event.Stamp) (r result, err error) {
	if a.outdated(it) {
		return result{err: auth.ErrOldRevision}, nil
	}
	switch it.kind {
	case kindInit:
		a.init(it.payload)
	case kindPut, kindDelete, kindTxn:
		if r, err = a.write(it, stamp, a.waiting != nil); err == nil {
			err = a.countDegraded(it.note, r.commit)
		}
	case kindRequest:
		if r, err = a.request(it, stamp); err == nil {
			err = a.countDegraded(it.note, r.commit)
		}
	case kindLease:
		r, err = a.lease(it, stamp)
	case kindCompact:
		r, err = a.compact(it.payload)
	case kindAlarm:
		r, err = a.alarm(it.payload)
	case kindAuth:
		r, err = a.auth(it, stamp)
	case kindFrame:
		r.err, err = a.receive(it.payload)
	case kindHome:
		r, err = a.home(it)
	case kindConfirm:
		err = a.confirm(it.payload, it.note)
	case kindMerge:
		err = a.merge(it.payload)
	case kindAdopt:
		err = a.adopt(it.payload)
	case kindRepair:
		r, err = a.repair(it.payload)
	default:
		// A kind that this build does not know was proposed by a newer one; skipping it would make this
		// replica differ from the others.
		err = fmt.Errorf("%w: kind %d, this build knows up to %d: upgrade this node", ErrMalformed, it.kind, lastKind)
	}
	return r, err
}

// seal closes the frame of the entry's local writes and appends it to the chain.
func (a *applier) seal() error {
	if len(a.frame.Txns) == 0 {
		return nil
	}
	if a.entry.alone {
		a.skipFrame()
		return nil
	}
	a.frame.Seen = a.dc.state.vector() // nothing but local writes has been applied since the entry began
	delete(a.frame.Seen, a.frame.Origin)
	sealed, err := event.Seal(&a.frame)
	if err != nil {
		return fmt.Errorf("seal frame: %w", err)
	}
	a.batch.AppendFrame(sealed)
	a.advance(&sealed)
	a.dc.metrics.frameSealed(&sealed)
	return nil
}

// skipFrame moves on without a frame: without peers nobody will ask for it, nor can an older write arrive that
// a tombstone would have to stop. The chain begins anew behind it; a datacenter that joins later starts from
// a snapshot.
func (a *applier) skipFrame() {
	own := a.frame.Origin
	last := a.frame.Last()
	a.setPosition(event.Position{Origin: own, Incarnation: a.frame.Incarnation, Revision: last})
	a.batch.TrimFrames(own, last)
	a.dropsUnconfirmed(own, last)
	if a.batch.Graves() > 0 {
		a.batch.DropGraves(event.Vector{own: last}, maxGravesPerEntry)
	}
	a.dc.metrics.writes.Add(float64(len(a.frame.Txns)))
}

func (a *applier) advance(s *event.Sealed) {
	a.setPosition(event.Position{Origin: s.Origin, Incarnation: s.Incarnation, Revision: s.Last, Hash: s.Hash})
}

func (a *applier) setPosition(p event.Position) {
	positions := a.dc.state.positions
	_, known := positions[p.Origin]
	positions[p.Origin] = p
	a.batch.SetMeta(metaPosition+p.Origin, encodePosition(p))
	if known {
		return
	}
	raw, err := json.Marshal(slices.Sorted(maps.Keys(positions)))
	if err != nil {
		panic(fmt.Sprintf("marshal %v: %v", positions, err)) // strings always marshal
	}
	a.batch.SetMeta(metaOrigins, raw)
}

func (a *applier) init(payload []byte) {
	s := &a.dc.state
	if s.incarnation != 0 {
		return
	}
	v, err := decodeUint64(metaIncarnation, payload)
	if err != nil || v == 0 {
		return // never proposed by this code; without an incarnation the leader proposes another
	}
	s.incarnation = v
	a.batch.SetMeta(metaIncarnation, payload)
	own := s.positions[a.dc.cfg.Name]
	own.Origin, own.Incarnation = a.dc.cfg.Name, v
	a.setPosition(own)
	a.frame.Incarnation = v
}

// answer releases the writers, after their effects are visible.
func (a *applier) answer() {
	for i, p := range a.waiting {
		p.answer(a.results[i])
	}
}
