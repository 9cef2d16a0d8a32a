package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
)

// SystemEntry is the newest state of an entry of the system table: what a datacenter replicates beside its
// keys (users, roles, settings). It has a stamp as a key has, and a grave when it is deleted, but no history:
// ranges and watches never see it. An entry is never changed, only replaced.
type SystemEntry struct {
	Name    string
	Value   []byte
	Deleted bool // a grave, without a value
	Geo     Geo
}

func (e *SystemEntry) bytes() int64 { return int64(len(e.Name) + len(e.Value)) }

// systemTable is all entries, in memory: what may be put is bounded by the caller, see [Batch.SystemSize].
type systemTable struct {
	entries map[string]*SystemEntry
	buried  int
	bytes   int64 // of names and values of live entries
}

func newSystemTable() systemTable { return systemTable{entries: map[string]*SystemEntry{}} }

// set replaces the entry of that name; nil forgets it.
func (t *systemTable) set(name string, e *SystemEntry) {
	if old := t.entries[name]; old != nil {
		if old.Deleted {
			t.buried--
		} else {
			t.bytes -= old.bytes()
		}
	}
	if e == nil {
		delete(t.entries, name)
		return
	}
	t.entries[name] = e
	if e.Deleted {
		t.buried++
	} else {
		t.bytes += e.bytes()
	}
}

// sorted is the entries whose names begin with a prefix, graves included.
func (t *systemTable) sorted(prefix string) []*SystemEntry {
	var out []*SystemEntry
	for name, e := range t.entries {
		if strings.HasPrefix(name, prefix) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *SystemEntry) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// PutSystem makes value the state of an entry and removes its grave. It takes the revision of the
// transaction as a put of a key does. The value is kept, not copied.
func (b *Batch) PutSystem(name string, value []byte, g Geo) int64 {
	return b.setSystem(&SystemEntry{Name: name, Value: value, Geo: g}, true)
}

// DeleteSystem makes a live entry a grave.
func (b *Batch) DeleteSystem(name string, g Geo) int64 {
	if e := b.s.system.entries[name]; e == nil || e.Deleted {
		panic(fmt.Sprintf("store: delete of system entry %q, which is not live", name))
	}
	return b.setSystem(&SystemEntry{Name: name, Deleted: true, Geo: g}, true)
}

// BurySystem sets or replaces the grave of an entry that is not live. It takes no revision.
func (b *Batch) BurySystem(name string, g Geo) {
	if e := b.s.system.entries[name]; e != nil && !e.Deleted {
		panic(fmt.Sprintf("store: grave for system entry %q, which is live", name))
	}
	b.setSystem(&SystemEntry{Name: name, Deleted: true, Geo: g}, false)
}

func (b *Batch) setSystem(e *SystemEntry, takesRevision bool) int64 {
	s := b.s
	if takesRevision {
		b.next()
	}
	s.internLocked(e.Geo.Origin)
	if old := s.system.entries[e.Name]; old != nil {
		s.digest -= s.hasher.system(old)
	}
	s.digest += s.hasher.system(e)
	s.system.set(e.Name, e)
	s.active.system[e.Name] = e
	s.active.bytes += e.bytes() + overhead
	return s.revision
}

// System is the newest state of an entry, a grave too; nil when nothing is known of it.
func (b *Batch) System(name string) *SystemEntry { return b.s.system.entries[name] }

// EachSystem lists the entries whose names begin with a prefix, in order, graves included.
func (b *Batch) EachSystem(prefix string) []*SystemEntry { return b.s.system.sorted(prefix) }

// SystemSize is the number of live entries, and the bytes of their names and values.
func (b *Batch) SystemSize() (entries int, bytes int64) {
	t := &b.s.system
	return len(t.entries) - t.buried, t.bytes
}

// dropSystemGraves is DropGraves for the system table.
func (b *Batch) dropSystemGraves(stable map[string]int64, most int) {
	s := b.s
	if s.system.buried == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.system.entries)) {
		e := s.system.entries[name]
		if upTo, ok := stable[e.Geo.Origin]; !e.Deleted || !ok || e.Geo.OriginRevision > upTo {
			continue
		}
		if most--; most < 0 {
			return
		}
		s.system.set(name, nil)
		s.active.system[name] = nil
		s.active.bytes += int64(len(name)) + overhead
	}
}

// System lists the entries whose names begin with a prefix, in order, graves included.
func (s *Store) System(prefix string) []*SystemEntry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.system.sorted(prefix)
}

// SystemEntries is the number of live entries of the system table, and the bytes of their names and values.
func (s *Store) SystemEntries() (entries int, bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.system.entries) - s.system.buried, s.system.bytes
}

// systemBucketLocked is the table as a bucket of its own: its digest, and by origin the highest origin revision that made a
// state of an entry that is there.
func (s *Store) systemBucketLocked() (digest uint64, touches map[string]int64) {
	var h hasher
	touches = map[string]int64{}
	for _, e := range s.system.entries {
		digest += h.system(e)
		touches[e.Geo.Origin] = max(touches[e.Geo.Origin], e.Geo.OriginRevision)
	}
	return digest, touches
}

// SystemStates lists entries behind a name, at most `most` of them, graves included.
func (s *Store) SystemStates(after []byte, most int) (states []KeyState, done bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return nil, false, err
	}
	var h hasher
	for _, e := range s.system.sorted("") {
		switch {
		case e.Name <= string(after):
		case len(states) == most:
			return states, false, nil
		default:
			states = append(states, KeyState{Key: []byte(e.Name), Live: !e.Deleted, Hash: h.system(e), Geo: e.Geo})
		}
	}
	return states, true, nil
}

// ExportedSystem is a run of entries in order of their names.
type ExportedSystem struct {
	Entries []*SystemEntry // graves included
	Last    string         // name of the last one
	Done    bool           // there are none behind it
	Index   uint64         // of the log: the state includes nothing behind it
}

// ExportSystem reads the entries behind one, about maxBytes of them, at least one if there is any.
func (s *Store) ExportSystem(after string, maxBytes int) (ExportedSystem, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return ExportedSystem{}, err
	}
	out := ExportedSystem{Last: after, Done: true, Index: s.applied.Index}
	size := 0
	for _, e := range s.system.sorted("") {
		if e.Name <= after && after != "" {
			continue
		}
		if size >= maxBytes && len(out.Entries) > 0 {
			out.Done = false
			break
		}
		size += int(e.bytes()) + len(e.Geo.Seen) + overhead/4
		out.Entries, out.Last = append(out.Entries, e), e.Name
	}
	return out, nil
}

// system is what an entry adds to the digest; a grave adds nothing.
func (h *hasher) system(e *SystemEntry) uint64 {
	if e.Deleted {
		return 0
	}
	h.d.Reset()
	_, _ = h.d.WriteString("system") // never fails; a key's sum begins with the length of the key, which is never that
	binary.LittleEndian.PutUint64(h.buf[0:], uint64(len(e.Name)))
	binary.LittleEndian.PutUint64(h.buf[8:], uint64(len(e.Value)))
	binary.LittleEndian.PutUint64(h.buf[16:], uint64(e.Geo.Stamp))
	binary.LittleEndian.PutUint64(h.buf[24:], uint64(e.Geo.OriginRevision))
	h.write(h.buf[:32])
	_, _ = h.d.WriteString(e.Name)
	h.write(e.Value)
	_, _ = h.d.WriteString(e.Geo.Origin)
	return h.d.Sum64()
}

// encodeSystem writes an entry's body. The checksum covers the name too.
func encodeSystem(e *SystemEntry, origin uint16) []byte {
	b := make([]byte, sumBytes, sumBytes+1+len(e.Geo.Seen)+len(e.Value)+4*binary.MaxVarintLen64)
	kind := byte(kindPut)
	if e.Deleted {
		kind = kindTombstone
	}
	b = append(b, kind)
	b = appendGeo(b, &e.Geo, origin)
	b = append(b, e.Value...)
	binary.LittleEndian.PutUint32(b, graveChecksum([]byte(e.Name), b[sumBytes:]))
	return b
}

// decodeSystem reads an entry's body; seen and value are slices of it.
func decodeSystem(name, b []byte, e *SystemEntry) (origin uint16, err error) {
	if len(b) < sumBytes+1 {
		return 0, fmt.Errorf("entry %q: %w", name, errShort)
	}
	if got, want := graveChecksum(name, b[sumBytes:]), binary.LittleEndian.Uint32(b); got != want {
		return 0, fmt.Errorf("entry %q has checksum %08x, want %08x", name, got, want)
	}
	d := decoder{b: b[sumBytes:]}
	kind := d.byte()
	*e = SystemEntry{Name: string(name), Deleted: kind == kindTombstone}
	origin = d.geo(&e.Geo)
	switch {
	case d.err != nil:
		return 0, fmt.Errorf("entry %q: %w", name, d.err)
	case kind == kindPut:
		e.Value = d.b
	case kind != kindTombstone || len(d.b) != 0:
		return 0, fmt.Errorf("entry %q is of kind %d with %d bytes", name, kind, len(d.b))
	}
	return origin, nil
}

// writeSystem writes the entries that changed. The bucket, and with it the format version that older builds
// refuse (see writeState), comes with the first one.
func writeSystem(tx *bolt.Tx, f *flight) error {
	if len(f.system) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketSystem)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(f.system)) {
		if e := f.system[name]; e == nil {
			err = b.Delete(storedKey([]byte(name)))
		} else {
			err = b.Put(storedKey([]byte(name)), storedValue([]byte(name), encodeSystem(e, f.originIDs[e.Geo.Origin])))
		}
		if err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(metaSystem, encodeSeq(uint64(f.totalSystem)))
}

func (d *disk) loadSystem(b *bolt.Bucket, format uint64, want []byte) error {
	if format < formatSystem {
		if b != nil || want != nil {
			return fmt.Errorf("there is a bucket in a file of format %d", format)
		}
		return nil
	}
	if format > formatSystem && b == nil && want == nil {
		return nil
	}
	if b == nil || len(want) != seqBytes {
		return fmt.Errorf("bucket is there: %t, its count has %d bytes", b != nil, len(want))
	}
	var h hasher
	err := b.ForEach(func(k, v []byte) error {
		k, v, err := openStored(k, slices.Clone(v))
		if err != nil {
			return err
		}
		e := &SystemEntry{}
		origin, err := decodeSystem(k, v, e)
		if err != nil {
			return err
		}
		if int(origin) >= len(d.origins) {
			return fmt.Errorf("%q: unknown origin %d", k, origin)
		}
		e.Geo.Origin = d.origins[origin]
		d.system.set(e.Name, e)
		d.digest += h.system(e)
		return nil
	})
	if n := binary.BigEndian.Uint64(want); err == nil && n != uint64(len(d.system.entries)) {
		err = fmt.Errorf("%d entries, want %d", len(d.system.entries), n)
	}
	return err
}

// system compares the table with what is on disk and pending.
func (c *check) system(tx *bolt.Tx) error {
	var errs []error
	sums := map[string]uint64{}
	sum := func(e *SystemEntry, origin string) uint64 {
		return xxhash.Sum64(encodeSystem(e, 0)) ^ xxhash.Sum64String(origin)
	}
	if b := tx.Bucket(bucketSystem); b != nil {
		errs = append(errs, b.ForEach(func(k, v []byte) error {
			k, v, err := openStored(k, v)
			if err != nil {
				return err
			}
			var e SystemEntry
			origin, err := decodeSystem(k, v, &e)
			if err == nil {
				sums[e.Name] = sum(&e, c.r.origins[origin])
			}
			return err
		}))
	}
	for _, b := range []*buffer{c.s.flushing, c.s.active} {
		if b == nil {
			continue
		}
		for name, e := range b.system {
			if delete(sums, name); e != nil {
				sums[name] = sum(e, e.Geo.Origin)
			}
		}
	}
	fresh := newSystemTable()
	for name, e := range c.s.system.entries {
		fresh.set(name, e)
		if got, ok := sums[name]; !ok || got != sum(e, e.Geo.Origin) {
			c.fail(&errs, "system entry %q is not what the records have", name)
		}
	}
	if len(sums) != len(c.s.system.entries) || fresh.buried != c.s.system.buried || fresh.bytes != c.s.system.bytes {
		c.fail(&errs, "%d system entries, %d graves, %d bytes; counted %d, %d, %d", len(sums), fresh.buried, fresh.bytes,
			len(c.s.system.entries), c.s.system.buried, c.s.system.bytes)
	}
	return errors.Join(errs...)
}
