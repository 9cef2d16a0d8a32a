package dc

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/dc/store"
	"geogate/replication/event"
	"geogate/replication/verify"
)

// VerifyState is this DC's data by buckets, behind those of the keys one of the system table, and what it has applied, of one moment.
func (d *DC) VerifyState() (*verify.State, error) {
	b := d.store.Buckets()
	s, err := loadState(func(name string) []byte { return b.Meta[name] })
	if err != nil {
		return nil, err
	}
	st := &verify.State{Holding: s.holding(), Digests: append(b.Digests, b.System.Digest), Touches: map[string][]int64{}}
	for origin, t := range b.Touches {
		st.Touches[origin] = append(t, 0)
	}
	for origin, r := range b.System.Touches {
		if st.Touches[origin] == nil {
			st.Touches[origin] = make([]int64, store.Buckets+1)
		}
		st.Touches[origin][store.Buckets] = r
	}
	return st, nil
}

// VerifyKeys lists keys of a bucket behind one, and what this DC had applied before the first was looked at.
func (d *DC) VerifyKeys(bucket int, after []byte, most int) (h verify.Holding, keys []verify.Copy, done bool, err error) {
	p := d.published.Load()
	h = verify.Holding{Marks: append(slices.Clip(p.marks()), p.homeMarks...), Reach: reachMarks(p.reach)}
	system := bucket == store.Buckets
	list := func() ([]store.KeyState, bool, error) { return d.store.BucketKeys(bucket, after, most) }
	if system {
		list = func() ([]store.KeyState, bool, error) { return d.store.SystemStates(after, most) }
	}
	states, done, err := list()
	if err != nil {
		return h, nil, false, err
	}
	for _, s := range states {
		keys = append(keys, verify.Copy{
			Key: s.Key, Known: true, Live: s.Live, Hash: s.Hash, Origin: s.Geo.Origin, Revision: s.Geo.OriginRevision, Stamp: s.Geo.Stamp,
			System: system,
		})
	}
	return h, keys, done, nil
}

// KeyState is the newest state of a key as a chunk with that key alone; without any when nothing is known of it.
func (d *DC) KeyState(key []byte) ([]byte, error) {
	if err := d.mayGive(); err != nil {
		return nil, err
	}
	v, known, err := d.store.State(key)
	if err != nil || !known {
		return appendChunk(nil, nil, nil), err
	}
	return appendChunk([]store.Version{v}, nil, nil), nil
}

func (s *state) holding() verify.Holding {
	return verify.Holding{Marks: append(s.marks(), s.homeMarks...), Reach: reachMarks(s.reach)}
}

func reachMarks(reach map[life]int64) (out []event.Mark) {
	for _, l := range slices.SortedFunc(maps.Keys(reach), compareLives) {
		out = append(out, event.Mark{Position: event.Position{Origin: l.origin, Incarnation: l.incarnation, Revision: reach[l]}})
	}
	return out
}

// copyOf is what is known of a key within a batch.
func copyOf(b *store.Batch, key []byte) verify.Copy {
	h, known := b.Head(key)
	if !known {
		return verify.Copy{Key: key}
	}
	return verify.Copy{Key: key, Known: true, Live: h.Live, Hash: h.Hash, Origin: h.Geo.Origin, Revision: h.Geo.OriginRevision, Stamp: h.Geo.Stamp}
}

// Repair puts a key into a state that another DC has, given as a chunk with that key alone, if the key is
// still in the version that was seen here. No frame is made of it: the others have it. It says whether the
// key was still there; where it was not, a newer write has taken the wrong one's place. A chunk without a key
// deletes the key.
func (d *DC) Repair(ctx context.Context, seen verify.Copy, chunk []byte) (applied bool, err error) {
	r, err := d.newRepair(seen, chunk)
	if err != nil {
		return false, err
	}
	p, err := d.queue.add(item{kind: kindRepair, payload: r.marshal()})
	if err != nil {
		return false, err
	}
	res := d.queue.wait(ctx, p)
	return res.commit.Revision != 0, res.err
}

func (d *DC) newRepair(seen verify.Copy, chunk []byte) (*repair, error) {
	c, err := decodeChunk(chunk)
	if err != nil {
		return nil, err
	}
	r := &repair{seen: seen, chunk: chunk}
	switch len(c.versions) {
	case 0:
		if !seen.Known {
			return nil, fmt.Errorf("%w: neither side knows anything of %q", ErrRepair, seen.Key)
		}
		// What is nowhere else is deleted under the lowest stamp: whatever may still come from elsewhere wins.
		gone := store.Version{Key: seen.Key, Deleted: true, Geo: store.Geo{Origin: seen.Origin, OriginRevision: 1}}
		r.chunk = appendChunk([]store.Version{gone}, nil, nil)
	case 1:
		if string(c.versions[0].Key) != string(seen.Key) {
			return nil, fmt.Errorf("%w: state of %q for %q", ErrRepair, c.versions[0].Key, seen.Key)
		}
		if err := r.number(d.store); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w: states of %d keys for %q", ErrRepair, len(c.versions), seen.Key)
	}
	return r, nil
}

// repair is the payload of an item of kind 14; see README.md for the table.
type repair struct {
	seen    verify.Copy // the wrong version, without its hash
	create  int64       // create revision that a put gets; 0 for that of the repair
	version int64       // its version
	chunk   []byte      // the right state
}

// number takes over the create revision of a key that is there, and goes on with its version.
func (r *repair) number(s *store.Store) error {
	r.version = 1
	v, known, err := s.State(r.seen.Key)
	if err == nil && known && !v.Deleted {
		r.create, r.version = v.Create, v.Version+1
	}
	return err
}

const (
	repairKnown    = 1
	repairLive     = 2
	repairOrigin   = 3
	repairRevision = 4
	repairStamp    = 5
	repairCreate   = 6
	repairVersion  = 7
	repairChunk    = 8
)

func (r *repair) marshal() []byte {
	var b []byte
	flag := func(field protowire.Number, v bool) {
		if v {
			b = appendUint(b, field, 1)
		}
	}
	flag(repairKnown, r.seen.Known)
	flag(repairLive, r.seen.Live)
	b = appendField(b, repairOrigin, []byte(r.seen.Origin))
	b = appendUint(b, repairRevision, uint64(r.seen.Revision))
	b = appendUint(b, repairStamp, uint64(r.seen.Stamp))
	b = appendUint(b, repairCreate, uint64(r.create))
	b = appendUint(b, repairVersion, uint64(r.version))
	return appendField(b, repairChunk, r.chunk)
}

func decodeRepair(b []byte) (r repair, right *store.Version, err error) {
	err = chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case repairKnown:
			r.seen.Known = n != 0
		case repairLive:
			r.seen.Live = n != 0
		case repairOrigin:
			r.seen.Origin = string(raw)
		case repairRevision:
			r.seen.Revision = int64(n)
		case repairStamp:
			r.seen.Stamp = event.Stamp(n)
		case repairCreate:
			r.create = int64(n)
		case repairVersion:
			r.version = int64(n)
		case repairChunk:
			r.chunk = raw
		}
		return nil
	})
	if err != nil {
		return r, nil, fmt.Errorf("%w: repair: %w", ErrMalformed, err)
	}
	c, err := decodeChunk(r.chunk)
	if err != nil {
		return r, nil, err
	}
	if len(c.versions) != 1 {
		return r, nil, fmt.Errorf("%w: repair of %d keys", ErrMalformed, len(c.versions))
	}
	right = &c.versions[0]
	right.Create, right.Version = r.create, r.version
	return r, right, nil
}

// repair replaces the wrong version of a key by the right one. The nodes of a datacenter may differ in this
// key: the disk of one of them may be what went wrong. So it takes its revision always, and where the key is
// in the right version already it is written again: from then on it is the same on all nodes, revision
// included. The version is told by its write; contents are not looked at, because they may differ.
func (a *applier) repair(payload []byte) (result, error) {
	r, right, err := decodeRepair(payload)
	if err != nil {
		return result{}, err
	}
	a.batch.NextTxn()
	revision := a.batch.TakeRevision()
	have := copyOf(a.batch, right.Key)
	want := verify.Copy{
		Known: true, Live: !right.Deleted, Origin: right.Geo.Origin, Revision: right.Geo.OriginRevision, Stamp: right.Geo.Stamp,
	}
	forgotten := !have.Known && right.Deleted // its tombstone was collected
	if !have.Version(&r.seen) && !have.Version(&want) && !forgotten {
		a.dc.metrics.repairs.WithLabelValues("passed").Inc()
		return result{}, nil
	}
	a.batch.Replace(right)
	a.dc.state.high = max(a.dc.state.high, right.Geo.Stamp)
	a.dc.metrics.repairs.WithLabelValues("applied").Inc()
	a.dc.log.Warn("a key was repaired", "key", string(right.Key), "revision", revision, "origin", right.Geo.Origin,
		"origin_revision", right.Geo.OriginRevision, "stamp", right.Geo.Stamp.String(), "deleted", right.Deleted)
	return result{commit: Commit{Revision: revision, Stamp: right.Geo.Stamp}}, nil
}
