package store

import (
	"encoding/binary"
	"fmt"
	"math"

	"geogate/replication/event"
)

// stateKeep is the name of the small value that holds the revision of KeepHistory.
const stateKeep = "history kept from"

// KeepHistory makes compaction leave on disk and in the index the versions that were replaced behind a revision,
// whatever revision history is compacted to: readers don't see them, [Batch.History] does. 0 ends that.
func (b *Batch) KeepHistory(revision int64) {
	if revision == b.s.keep {
		return
	}
	b.s.keep = revision
	if revision == 0 {
		b.SetMeta(stateKeep, nil)
	} else {
		b.SetMeta(stateKeep, encodeSeq(uint64(revision)))
	}
}

// droppableLocked is the revision up to which versions that were replaced may go.
func (s *Store) droppableLocked() int64 {
	if s.keep != 0 {
		return min(s.compacted, s.keep)
	}
	return s.compacted
}

func keptFrom(state map[string][]byte) int64 {
	if raw := state[stateKeep]; len(raw) == seqBytes {
		return int64(binary.BigEndian.Uint64(raw))
	}
	return 0
}

// KeepGraves makes the rest of the batch, or what comes until it is called again, keep a note of each grave that a
// put or another grave replaces, until [Batch.DropKept]: unlike a version, a grave leaves nothing behind.
func (b *Batch) KeepGraves(on bool) { b.keepGraves = on }

// keepGrave notes the grave of an item before a write with g replaces it.
func (b *Batch) keepGrave(it *item, key []byte, g *Geo) {
	b.kept++
	old := Geo{Origin: b.s.originNames()[it.origin], OriginRevision: it.originRevision, Stamp: it.stamp}
	name := keptName(g.Origin, g.OriginRevision) + string(binary.BigEndian.AppendUint32(nil, b.kept))
	v := appendBytes(nil, key)
	v = appendBytes(v, []byte(old.Origin))
	v = binary.AppendUvarint(v, uint64(old.OriginRevision))
	b.SetRecord(keptGraves, name, binary.BigEndian.AppendUint64(v, uint64(old.Stamp)))
}

func keptName(origin string, revision int64) string {
	return origin + "\x00" + string(binary.BigEndian.AppendUint64(nil, uint64(revision)))
}

// KeptGraves returns, for each key, the grave that the first write of an origin behind a revision replaced.
func (b *Batch) KeptGraves(origin string, behind int64) (map[string]Geo, error) {
	return b.s.keptGravesLocked(origin, behind)
}

func (s *Store) keptGravesLocked(origin string, behind int64) (map[string]Geo, error) {
	out := map[string]Geo{}
	var err error
	s.eachRecordLocked(keptGraves, keptName(origin, behind+1), func(name string, value []byte) bool {
		if len(name) <= len(origin) || name[:len(origin)+1] != origin+"\x00" {
			return false
		}
		d := decoder{b: value}
		key, from := string(d.bytes()), string(d.bytes())
		g := Geo{Origin: from, OriginRevision: int64(d.uvarint())}
		g.Stamp = event.Stamp(d.uint64())
		if d.err != nil {
			err = fmt.Errorf("note of a grave: %w", d.err)
			return false
		}
		if _, earlier := out[key]; !earlier {
			out[key] = g
		}
		return true
	})
	return out, err
}

// DropKept forgets the notes of graves that writes of an origin up to a revision replaced.
func (b *Batch) DropKept(origin string, upTo int64) {
	var names []string
	end := keptName(origin, upTo+1)
	b.EachRecord(keptGraves, keptName(origin, 0), func(name string, _ []byte) bool {
		if name >= end {
			return false
		}
		names = append(names, name)
		return true
	})
	for _, name := range names {
		b.SetRecord(keptGraves, name, nil)
	}
}

// History calls fn for the versions of a key that are kept, newest first, tombstones included, until it returns
// false. Versions below the compacted revision may be among them.
func (b *Batch) History(key []byte, fn func(*Version) bool) error {
	it := b.s.index.get(key)
	if it == nil || it.mod == 0 {
		return nil
	}
	v, err := b.version(it.mod, it.sub)
	older := it.older()
	for i := len(older) - 1; err == nil && fn(v) && i >= 0; i-- {
		v, err = b.version(older[i].main, older[i].sub)
	}
	return err
}

// Ascend calls fn for the keys at or behind one with what is known of them, until it returns false. Keys must
// not be changed, and fn must not change the store.
func (b *Batch) Ascend(from []byte, fn func(key []byte, h Head) bool) {
	names := b.s.originNames()
	b.s.index.ascend(from, func(it *item) bool {
		h, known := it.head(names)
		return !known || fn(asBytes(it.key), h)
	})
}

// Floor is the revision up to which an origin's frames are not retained; without any, that is all.
func (b *Batch) Floor(origin string) int64 {
	if c := b.s.chains[origin]; c != nil && len(c.frames) > 0 {
		return c.floor
	}
	return math.MaxInt64
}

// Frames is [Store.Frames] within a batch. Behind a place whose next frame is not kept it begins with the oldest one.
func (b *Batch) Frames(origin string, after int64, maxBytes int) ([]event.Sealed, error) {
	c := b.s.chains[origin]
	if c == nil {
		return nil, nil
	}
	wanted := c.upTo(c.after(after), maxBytes)
	out := make([]event.Sealed, len(wanted))
	for i := range wanted {
		if wanted[i].sealed != nil {
			out[i] = *wanted[i].sealed
			continue
		}
		r, err := b.reader()
		if err != nil {
			return nil, err
		}
		err = b.s.reading(func() (err error) {
			out[i], err = readFrame(r.tx, origin, wanted[i].last, wanted[i].last <= c.plain)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
