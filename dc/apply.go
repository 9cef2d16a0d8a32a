package dc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/consensus"
	"geogate/dc/store"
	"geogate/replication/event"
)

// maxGravesPerEntry bounds the tombstones that one confirm item may collect.
const maxGravesPerEntry = 10_000

// state is the deterministic small state, kept in the store's meta and mirrored here for the apply
// goroutine, which alone changes it.
type state struct {
	incarnation uint64
	high        event.Stamp // highest stamp applied, local or remote
	positions   map[string]event.Position
	barrier     barrier
	past        map[life]event.Position // of lives that have ended, this DC's own included
	reach       map[life]int64          // see marks.go
}

func loadState(get func(string) []byte) (state, error) {
	s := state{positions: map[string]event.Position{}}
	var err error
	if s.incarnation, err = decodeUint64(metaIncarnation, get(metaIncarnation)); err != nil {
		return s, err
	}
	high, err := decodeUint64(metaHigh, get(metaHigh))
	if err != nil {
		return s, err
	}
	s.high = event.Stamp(high)
	var origins []string
	if raw := get(metaOrigins); raw != nil {
		if err := json.Unmarshal(raw, &origins); err != nil {
			return s, fmt.Errorf("names of origins: %w: the store is damaged", err)
		}
	}
	for _, o := range origins {
		if s.positions[o], err = decodePosition(o, get(metaPosition+o)); err != nil {
			return s, err
		}
	}
	if s.past, err = decodePast(get(metaPast)); err != nil {
		return s, err
	}
	if s.reach, err = decodeReach(get(metaReach)); err != nil {
		return s, err
	}
	s.barrier, err = decodeBarrier(get(metaBarrier))
	return s, err
}

func (s *state) vector() event.Vector {
	v := make(event.Vector, len(s.positions))
	for o, p := range s.positions {
		v[o] = p.Revision
	}
	return v
}

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
	e := &entry{}
	if len(raw.Data) > 0 {
		var err error
		if e, err = unmarshalEntry(raw.Data); err != nil {
			return err // no replica may go on without an entry that it can't read
		}
	}
	b, err := d.store.Begin()
	if err != nil {
		return err
	}
	at := store.Applied{Index: raw.Index, Term: raw.Term, Conf: d.conf}
	run := applier{dc: d, batch: b, entry: e}
	if e.proposer == d.queue.proposer {
		run.waiting = d.queue.applied(e.first)
	}
	if err := run.apply(); err != nil {
		b.Abort(err)
		return err
	}
	b.Commit(at)
	d.queue.supersede(raw.Term)
	d.publish(raw.Index)
	run.answer()
	return nil
}

// applier evaluates one entry.
type applier struct {
	dc      *DC
	batch   *store.Batch
	entry   *entry
	waiting []*pending // the proposals of this process, in the entry's order; nil elsewhere

	results []result
	frame   event.Frame
	seen    []byte
}

func (a *applier) apply() error {
	s := &a.dc.state
	vector := s.vector()
	a.seen = encodeSeen(vector)
	delete(vector, a.dc.cfg.Name)
	own := s.positions[a.dc.cfg.Name]
	a.frame = event.Frame{
		Origin: a.dc.cfg.Name, Incarnation: s.incarnation,
		PrevRevision: own.Revision, PrevHash: own.Hash, Seen: vector,
	}
	a.results = make([]result, len(a.entry.items))
	high := s.high
	sealed := false
	for i, it := range a.entry.items {
		if it.kind.afterWrites() && !sealed {
			// Frames and bookkeeping come last: the frame of the local writes is complete.
			if err := a.seal(); err != nil {
				return err
			}
			sealed = true
		}
		var err error
		switch it.kind {
		case kindInit:
			a.init(it.payload)
		case kindPut, kindDelete, kindTxn:
			a.results[i], err = a.write(it, a.entry.stamp+event.Stamp(i))
		case kindRequest:
			a.results[i], err = a.request(it.payload, a.entry.stamp+event.Stamp(i))
		case kindCompact:
			a.results[i], err = a.compact(it.payload)
		case kindFrame:
			a.results[i].err, err = a.receive(it.payload)
		case kindConfirm:
			err = a.confirm(it.payload, it.note)
		case kindMerge:
			err = a.merge(it.payload)
		case kindAdopt:
			err = a.adopt(it.payload)
		default:
			// A kind that this build does not know was proposed by a newer one; skipping it would make this
			// replica differ from the others.
			err = fmt.Errorf("%w: kind %d, this build knows up to %d: upgrade this node", ErrMalformed, it.kind, lastKind)
		}
		if err != nil {
			return fmt.Errorf("item %d of kind %d: %w", i, it.kind, err)
		}
	}
	if !sealed {
		if err := a.seal(); err != nil {
			return err
		}
	}
	a.settle()
	if s.high != high {
		a.batch.SetMeta(metaHigh, encodeUint64(uint64(s.high)))
		a.dc.clock.Observe(s.high)
	}
	return nil
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
	a.batch.DropGraves(event.Vector{own: last}, maxGravesPerEntry)
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

// write evaluates a local write. Its stamp is the leader's clock, or just above everything applied so far
// when a peer's clock runs ahead: the write was ordered after it and must win over it everywhere.
func (a *applier) write(it item, stamp event.Stamp) (result, error) {
	a.batch.NextTxn()
	m := mutation{
		batch: a.batch, origin: a.dc.cfg.Name, seen: a.seen,
		stamp: max(stamp, a.dc.state.high+1),
	}
	resp, err := m.evaluate(it)
	if err != nil {
		if refused(err) {
			return result{err: err}, nil
		}
		return result{}, err
	}
	r := result{response: resp}
	if m.revision != 0 {
		a.dc.state.high = m.stamp
		a.frame.Txns = append(a.frame.Txns, event.Txn{Revision: m.revision, Stamp: m.stamp, Ops: m.ops})
		r.commit = Commit{Revision: m.revision, Stamp: m.stamp}
	}
	return r, nil
}

func (m *mutation) evaluate(it item) (proto.Message, error) {
	switch it.kind {
	case kindPut:
		r, err := decodePut(it.payload)
		if err != nil {
			return nil, err
		}
		if err := m.checkPut(r); err != nil {
			return nil, err
		}
		return m.put(r)
	case kindDelete:
		var r pb.DeleteRangeRequest
		if err := proto.Unmarshal(it.payload, &r); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return m.deleteRange(&r)
	default:
		var r pb.TxnRequest
		if err := proto.Unmarshal(it.payload, &r); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return m.txn(&r)
	}
}

// refused tells an answer to the client from a failure of this replica.
func refused(err error) bool {
	for _, known := range refusals {
		if known != nil && errors.Is(err, known) {
			return true
		}
	}
	return false
}

func (a *applier) compact(payload []byte) (result, error) {
	var r pb.CompactionRequest
	if err := proto.Unmarshal(payload, &r); err != nil {
		return result{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := a.batch.Compact(r.Revision); err != nil {
		if refused(err) {
			return result{err: err}, nil
		}
		return result{}, err
	}
	return result{response: &pb.CompactionResponse{Header: &pb.ResponseHeader{Revision: a.batch.Revision()}}}, nil
}

// receive applies a frame of another DC. The chain check stands here, beside the effects, and not only in
// the receiver: whatever was proposed twice or out of order, the watermark moves once and without a gap.
func (a *applier) receive(payload []byte) (refusal, err error) {
	f, sealed, err := event.Open(payload)
	if err != nil {
		return nil, err // the proposer could read it: this build is older, and must not go on without it
	}
	if f.Origin == a.dc.cfg.Name {
		return fmt.Errorf("%w: frame of %s itself", event.ErrFrame, f.Origin), nil
	}
	at := a.dc.state.positions[f.Origin]
	at.Origin = f.Origin
	step, err := at.Next(&sealed)
	if err != nil {
		a.dc.metrics.frameRefused(f.Origin)
		return err, nil
	}
	if step == event.StepSkip {
		a.dc.metrics.frameRepeated(f.Origin)
		return nil, nil
	}
	conflicts, err := merge(a.batch, f, a.dc.cfg.maxRequests())
	if err != nil {
		return nil, err
	}
	a.batch.AppendFrame(sealed)
	a.advance(&sealed)
	for i := range f.Txns {
		a.dc.state.high = max(a.dc.state.high, f.Txns[i].Stamp)
	}
	a.dc.metrics.frameApplied(&sealed, conflicts)
	return nil, nil
}

func (a *applier) confirm(payload, rawNote []byte) error {
	m, err := decodeMatrix(payload)
	if err != nil {
		return err
	}
	n, err := decodeNote(rawNote)
	if err != nil {
		return err
	}
	a.trim(n.Trim)
	if len(m) == 0 || !a.dc.state.alive(n.Lives) {
		return nil
	}
	low := m.lowest()
	for origin, upTo := range low {
		a.batch.TrimFrames(origin, upTo)
	}
	stable, moved := a.dc.state.barrier.advance(low, m.heads())
	if !moved {
		return nil
	}
	if stable != nil {
		a.batch.DropGraves(stable, maxGravesPerEntry)
	}
	return a.saveBarrier()
}

func (a *applier) saveBarrier() error {
	raw, err := encodeBarrier(a.dc.state.barrier)
	if err != nil {
		return err
	}
	a.batch.SetMeta(metaBarrier, raw)
	return nil
}

// answer releases the writers, after their effects are visible.
func (a *applier) answer() {
	for i, p := range a.waiting {
		p.done <- a.results[i]
	}
}

// SetConf implements [consensus.StateMachine].
func (d *DC) SetConf(_ uint64, conf []byte) { d.conf = conf }

// Durable implements [consensus.StateMachine].
func (d *DC) Durable() consensus.Applied { return consensusApplied(d.store.Durable()) }

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
	if leading && d.state.incarnation == 0 {
		if _, err := d.queue.add(item{kind: kindInit, payload: encodeUint64(newID())}); err != nil {
			d.log.Error("could not propose the incarnation of this datacenter's data", "error", err)
		}
	}
}
