package dc

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/dc/store"
	"geogate/replication/event"
	"geogate/replication/homes"
)

// Bounds of one step of taking back, which replicas must agree on. A step ends behind a whole frame.
const (
	stepKeys  = 1000
	stepBytes = 1 << 20
	stepScan  = 50_000 // keys looked at
)

// overrun is what is left to take back after a decision: writes that were applied here and don't count. It goes
// over the frames of each tail, or over the keys where those are not all here, and then over what was set aside, of
// which some may count by a later --force. Each step makes sure that it is done once: what is taken back is no
// longer the newest state of its key.
type overrun struct {
	tails []tail
	at    int    // tail
	after int64  // frames of it up to here are done
	key   []byte // of a scan: keys up to here are done
	back  uint64 // of the last phase: what was set aside up to this number is done
}

const (
	overrunTail  = 1
	overrunAt    = 2
	overrunAfter = 3
	overrunKey   = 4
	overrunBack  = 5
)

func (o *overrun) marshal() (b []byte) {
	for i := range o.tails {
		b = appendField(b, overrunTail, o.tails[i].marshal())
	}
	b = appendVarint(b, overrunAt, uint64(o.at))
	b = appendVarint(b, overrunAfter, uint64(o.after))
	if len(o.key) > 0 {
		b = appendField(b, overrunKey, o.key)
	}
	return appendVarint(b, overrunBack, o.back)
}

func decodeOverrun(b []byte) (*overrun, error) {
	o := &overrun{}
	err := chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case overrunTail:
			t, err := decodeTail(raw)
			o.tails = append(o.tails, t)
			return err
		case overrunAt:
			o.at = int(min(n, maxRegisters))
		case overrunAfter:
			o.after = int64(n)
		case overrunKey:
			o.key = raw
		case overrunBack:
			o.back = n
		}
		return nil
	})
	return o, err
}

// step is what one step of taking back has done.
type step struct {
	*applier
	r      *register
	budget int
	bytes  int
	kept   map[string]map[string]store.Geo // graves that were replaced, by origin and key
	full   bool
}

func (s *step) over() bool { return s.full || s.budget <= 0 || s.bytes >= stepBytes }

// takeBackSome does one step. All that it writes shares a revision, makes no frame, and is seen by watchers.
func (a *applier) takeBackSome(r *register) error {
	o := r.overrun
	if o == nil {
		return nil
	}
	a.batch.NextTxn()
	s := step{applier: a, r: r, budget: cmp.Or(a.dc.cfg.step, stepKeys), kept: map[string]map[string]store.Geo{}}
	for o.at < len(o.tails) && !s.over() {
		t := &o.tails[o.at]
		var done bool
		var err error
		if t.scan {
			done, err = s.scan(t)
		} else {
			done, err = s.frames(t)
		}
		if err != nil {
			return fmt.Errorf("take back writes to %q: %w", r.keyspace, err)
		}
		if done {
			o.at, o.after, o.key = o.at+1, 0, nil
		}
	}
	if o.at == len(o.tails) && !s.over() {
		done, err := s.putBack()
		if err != nil {
			return err
		}
		if done {
			r.overrun = nil
			a.dc.log.Info("what doesn't count of a keyspace is taken back", "keyspace", r.keyspace, "set_aside", a.dc.state.homes.aside.writes)
		}
	}
	a.dc.metrics.showAside(&a.dc.state.homes.aside, s.full)
	a.dc.asideFull.Store(s.full)
	if s.full {
		a.dc.log.Error("the room for writes that were set aside is full: this keyspace waits until some are discarded",
			"keyspace", r.keyspace, "writes", a.dc.state.homes.aside.writes, "bytes", a.dc.state.homes.aside.bytes, "limit", a.dc.cfg.maxAside())
	}
	return nil
}

// frames goes on with the frames of a tail.
func (s *step) frames(t *tail) (done bool, err error) {
	o := s.r.overrun
	o.after = max(o.after, t.after)
	sealed, err := s.batch.Frames(t.dc, o.after, stepBytes)
	if err != nil {
		return false, err
	}
	for i := range sealed {
		if sealed[i].First > t.upTo {
			return true, nil
		}
		f, _, err := event.Open(sealed[i].Bytes)
		if err != nil {
			return false, err
		}
		for j := range f.Txns {
			x := &f.Txns[j]
			if x.Home == nil || x.Home.Keyspace != s.r.keyspace || x.Revision <= t.after || x.Revision > t.upTo {
				continue
			}
			for k := range x.Ops {
				if err := s.takeBack(x.Ops[k].Key, x.Home.Epoch); err != nil || s.full {
					return false, err
				}
			}
		}
		o.after = sealed[i].Last
		if s.over() {
			return false, nil
		}
	}
	return len(sealed) == 0, nil
}

// scan goes on with the keys of the keyspace, whatever wrote them.
func (s *step) scan(t *tail) (done bool, err error) {
	o := s.r.overrun
	from := []byte(s.r.keyspace)
	if o.key != nil {
		from = append(slices.Clone(o.key), 0)
	}
	var found [][]byte
	looked, last := 0, []byte(nil)
	done = true
	s.batch.Ascend(from, func(key []byte, h store.Head) bool {
		if !bytes.HasPrefix(key, []byte(s.r.keyspace)) {
			return false
		}
		if looked == stepScan || len(found) == s.budget {
			done = false
			return false
		}
		looked++
		last = slices.Clone(key)
		if t.holds(&h.Geo) && s.dc.state.homes.of(key) == s.r {
			found = append(found, last)
		}
		return true
	})
	for _, key := range found {
		if err := s.takeBack(key, 0); err != nil || s.full {
			return false, err
		}
		o.key = key
		if s.over() {
			return false, nil
		}
	}
	if last != nil {
		o.key = last
	}
	s.budget -= looked * stepKeys / stepScan
	return done, nil
}

func (o *overrun) holds(g *store.Geo) bool { return o.tailOf(g) != nil }

// tailOf is the tail that a write is in, nil for none.
func (o *overrun) tailOf(g *store.Geo) *tail {
	if i := slices.IndexFunc(o.tails, func(t tail) bool { return t.holds(g) }); i >= 0 {
		return &o.tails[i]
	}
	return nil
}

// takeBack writes the state of a key again that it had before writes that don't count, with its origin, revision and
// stamp, so that the key is as it is where those were never applied, and sets them aside. Nothing happens to a
// key whose newest state counts.
func (s *step) takeBack(key []byte, epoch uint64) error {
	o := s.r.overrun
	head, known := s.batch.Head(key)
	if !known || !o.holds(&head.Geo) {
		return nil
	}
	var lost []*store.Version // newest first
	var before *store.Version
	err := s.batch.History(key, func(v *store.Version) bool {
		if o.holds(&v.Geo) {
			lost = append(lost, v)
			return true
		}
		before = v
		return false
	})
	if err != nil {
		return err
	}
	if len(lost) == 0 { // a delete of a key that was not there
		lost = append(lost, &store.Version{Key: key, Deleted: true, Geo: head.Geo})
	}
	live, base := before != nil && !before.Deleted, stateOf(before)
	var grave store.Geo
	if !live {
		if grave, err = s.graveBefore(key, head.Geo.Origin, before); err != nil {
			return err
		}
		base = newState(&grave, false)
	}
	if !s.keepLost(lost, before, base, epoch) {
		s.full = true
		return nil
	}
	s.budget--
	s.dc.metrics.homes.takenBack.Add(float64(len(lost)))
	switch {
	case live:
		s.bytes += len(before.Value)
		s.batch.Put(slices.Clone(key), before.Value, before.Lease, before.Geo)
	case head.Live:
		s.batch.Delete(slices.Clone(key), grave)
	default:
		s.batch.Bury(slices.Clone(key), grave)
	}
	return nil
}

// keepLost sets the lost writes of a key aside, oldest first; base is the state that it gets back. It is false when
// there is no room.
func (s *step) keepLost(lost []*store.Version, before *store.Version, base *Written, epoch uint64) bool {
	var out []aside
	size := int64(0)
	for i := len(lost) - 1; i >= 0; i-- {
		v := lost[i]
		w := aside{
			keyspace: s.r.keyspace, epoch: epoch, origin: s.r.overrun.tailOf(&v.Geo).home(), revision: v.Geo.OriginRevision, stamp: v.Geo.Stamp,
			key: v.Key, value: v.Value, lease: v.Lease, deleted: v.Deleted, at: s.dc.state.high, base: base,
		}
		if before != nil && !before.Deleted {
			w.old, w.existed = before.Value, true
		}
		before = v
		size += w.size()
		out = append(out, w)
	}
	if !s.roomAside(size) {
		return false
	}
	for i := range out {
		s.setAside(&out[i])
	}
	s.bytes += int(size)
	return true
}

// graveBefore is the state of a key that was not live before its first lost write.
func (s *step) graveBefore(key []byte, origin string, before *store.Version) (store.Geo, error) {
	o := s.r.overrun
	for i := range o.tails {
		t := &o.tails[i]
		if t.dc != origin {
			continue
		}
		if s.kept[origin] == nil {
			kept, err := s.batch.KeptGraves(origin, t.after)
			if err != nil {
				return store.Geo{}, err
			}
			s.kept[origin] = kept
		}
		if g, ok := s.kept[origin][string(key)]; ok && !o.holds(&g) {
			return g, nil
		}
	}
	if before != nil {
		return before.Geo, nil
	}
	// Nobody knows anything of the key, or its grave was collected: everyone had it. What may come wins.
	return store.Geo{Origin: origin, OriginRevision: 1}, nil
}

// putBack applies what was set aside and counts by the decision that is known now.
func (s *step) putBack() (done bool, err error) {
	o := s.r.overrun
	var count []aside
	done = true
	s.batch.EachRecord(tableAside, asideKey(o.back+1), func(key string, value []byte) bool {
		if s.budget <= 0 {
			done = false
			return false
		}
		o.back = binary.BigEndian.Uint64([]byte(key))
		w, e := decodeAside(o.back, value)
		if e != nil {
			err = e
			return false
		}
		if w.keyspace == s.r.keyspace {
			s.budget--
			write := homes.Write{Epoch: w.epoch, Home: w.origin, Revision: w.revision}
			if w.epoch > 0 && s.r.state.Judge(write, everything) == homes.Apply {
				count = append(count, w)
			}
		}
		return true
	})
	for i := range count {
		w := &count[i]
		op := event.Op{Kind: event.OpPut, Key: w.key, Value: w.value, Lease: w.lease}
		if w.deleted {
			op = event.Op{Kind: event.OpDelete, Key: w.key}
		}
		g := store.Geo{Origin: w.origin.DC, OriginRevision: w.revision, Stamp: w.stamp}
		if _, _, err := mergeOp(s.batch, &op, g, nil); err != nil {
			return false, err
		}
		s.discard(w.keyspace, w.id)
	}
	return done, err
}

// everything are the marks of one who has applied all there is.
func everything(homes.Life) int64 { return 1<<62 - 1 }

func (t *tail) home() homes.Life { return homes.Life{DC: t.dc, Incarnation: t.life} }
