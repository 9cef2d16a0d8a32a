package store_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"geogate/dc/store"
	"geogate/replication/event"
)

// model is what a store must do, said as plainly as possible: all versions ever, searched from the start.
type model struct {
	rev, compacted int64
	versions       []store.Version // ascending
	graves         map[string]store.Geo
	meta           map[string]string
	conflicts      [][]byte
	stamp          event.Stamp
	geoRev         map[string]int64
}

func newModel() *model {
	return &model{rev: 1, graves: map[string]store.Geo{}, meta: map[string]string{}, geoRev: map[string]int64{}}
}

// op is one call on a batch; an entry is what is between Begin and Commit.
type op struct {
	kind       string
	key, value string
	lease      int64
	geo        store.Geo
	rev        int64 // of compact
	stable     event.Vector
	most       int
}

type entry []op

// at is the version of key that is visible at a revision, nil when there is none.
func (m *model) at(key string, rev int64) *store.Version {
	var v *store.Version
	for i := range m.versions {
		if x := &m.versions[i]; x.Mod <= rev && string(x.Key) == key {
			v = x
		}
	}
	if v == nil || v.Deleted {
		return nil
	}
	return v
}

func (m *model) keys() []string {
	set := map[string]bool{}
	for i := range m.versions {
		set[string(m.versions[i].Key)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func inSpan(key string, begin, end []byte) bool {
	switch {
	case len(end) == 0:
		return key == string(begin)
	case bytes.Equal(end, []byte{0}):
		return key >= string(begin)
	}
	return key >= string(begin) && key < string(end)
}

func (m *model) rangeAt(begin, end []byte, rev int64) []*store.Version {
	var out []*store.Version
	for _, k := range m.keys() {
		if inSpan(k, begin, end) {
			if v := m.at(k, rev); v != nil {
				out = append(out, v)
			}
		}
	}
	return out
}

// history is the versions of a range from a revision on.
func (m *model) history(o store.WatchOptions, from int64) []store.Version {
	var out []store.Version
	for _, v := range m.versions {
		if v.Mod >= from && inSpan(string(v.Key), o.Key, o.End) && !(v.Deleted && o.NoDelete) && !(!v.Deleted && o.NoPut) {
			out = append(out, v)
		}
	}
	return out
}

func (m *model) geo(rnd *rand.Rand, local bool) store.Geo {
	m.stamp += event.Stamp(1 + rnd.IntN(3))
	origin := "local"
	if !local {
		origin = []string{"east", "west"}[rnd.IntN(2)]
	}
	m.geoRev[origin] += int64(1 + rnd.IntN(2))
	return store.Geo{Origin: origin, OriginRevision: m.geoRev[origin], Stamp: m.stamp, Seen: fmt.Appendf(nil, "seen %d", m.stamp)}
}

// generate makes up an entry that is valid in the model's state and applies it to the model.
func (m *model) generate(rnd *rand.Rand, keys int) entry {
	var e entry
	for range 1 + rnd.IntN(4) {
		e = append(e, op{kind: "txn"})
		used := map[string]bool{}
		opened := false
		for range 1 + rnd.IntN(3) {
			k := fmt.Sprintf("k%02d", rnd.IntN(keys))
			if used[k] {
				continue
			}
			used[k] = true
			o := op{key: k, geo: m.geo(rnd, rnd.IntN(2) == 0)}
			live := m.at(k, m.rev) != nil
			switch {
			case live && rnd.IntN(3) == 0:
				o.kind = "delete"
			case !live && rnd.IntN(3) == 0:
				o.kind = "bury"
			default:
				o.kind = "put"
				o.value = fmt.Sprintf("value %d %s", rnd.IntN(1000), bytes.Repeat([]byte("x"), rnd.IntN(100)))
				o.lease = int64(rnd.IntN(3))
			}
			m.apply(o, &opened)
			e = append(e, o)
		}
	}
	switch rnd.IntN(12) {
	case 0:
		if m.rev > m.compacted {
			o := op{kind: "compact", rev: m.compacted + 1 + rnd.Int64N(m.rev-m.compacted)}
			m.apply(o, nil)
			e = append(e, o)
		}
	case 1:
		o := op{kind: "drop", most: 1 + rnd.IntN(4), stable: event.Vector{}}
		for origin, r := range m.geoRev {
			o.stable[origin] = r - int64(rnd.IntN(20))
		}
		m.apply(o, nil)
		e = append(e, o)
	case 2:
		o := op{kind: "meta", key: fmt.Sprintf("m%d", rnd.IntN(3)), value: []string{"", "a", "b"}[rnd.IntN(3)]}
		m.apply(o, nil)
		e = append(e, o)
	case 3:
		o := op{kind: "conflict", value: fmt.Sprintf("conflict %d", m.rev)}
		m.apply(o, nil)
		e = append(e, o)
	}
	return e
}

// apply changes the model; opened is whether the transaction has taken its revision.
func (m *model) apply(o op, opened *bool) {
	next := func() (main, sub int64) {
		if !*opened {
			*opened = true
			m.rev++
			return m.rev, 0
		}
		return m.rev, m.versions[len(m.versions)-1].Sub + 1
	}
	switch o.kind {
	case "put":
		v := store.Version{Key: []byte(o.key), Value: []byte(o.value), Lease: o.lease, Geo: o.geo, Version: 1}
		old := m.at(o.key, m.rev)
		v.Mod, v.Sub = next()
		v.Create = v.Mod
		if old != nil {
			v.Create, v.Version = old.Create, old.Version+1
		}
		m.versions = append(m.versions, v)
		delete(m.graves, o.key)
	case "delete":
		v := store.Version{Key: []byte(o.key), Deleted: true, Geo: o.geo}
		v.Mod, v.Sub = next()
		m.versions = append(m.versions, v)
		m.graves[o.key] = o.geo
	case "bury":
		m.graves[o.key] = o.geo
	case "compact":
		m.compacted = o.rev
	case "drop":
		m.drop(o.stable, o.most)
	case "meta":
		if o.value == "" {
			delete(m.meta, o.key)
		} else {
			m.meta[o.key] = o.value
		}
	case "conflict":
		m.conflicts = append(m.conflicts, []byte(o.value))
	}
}

func (m *model) drop(stable event.Vector, most int) {
	type g struct {
		origin string
		rev    int64
		key    string
	}
	var all []g
	for k, geo := range m.graves {
		if r, ok := stable[geo.Origin]; ok && geo.OriginRevision <= r {
			all = append(all, g{geo.Origin, geo.OriginRevision, k})
		}
	}
	slices.SortFunc(all, func(a, b g) int {
		return cmpOr(cmpStrings(a.origin, b.origin), int(a.rev-b.rev), cmpStrings(a.key, b.key))
	})
	for _, x := range all[:min(most, len(all))] {
		delete(m.graves, x.key)
	}
}

func cmpStrings(a, b string) int { return bytes.Compare([]byte(a), []byte(b)) }

func cmpOr(c ...int) int {
	for _, v := range c {
		if v != 0 {
			return v
		}
	}
	return 0
}

// run applies an entry to a store.
func (e entry) run(b *store.Batch) error {
	for _, o := range e {
		switch o.kind {
		case "txn":
			b.NextTxn()
		case "put":
			b.Put([]byte(o.key), []byte(o.value), o.lease, o.geo)
		case "delete":
			b.Delete([]byte(o.key), o.geo)
		case "bury":
			b.Bury([]byte(o.key), o.geo)
		case "compact":
			if err := b.Compact(o.rev); err != nil {
				return err
			}
		case "drop":
			b.DropGraves(o.stable, o.most)
		case "meta":
			var v []byte
			if o.value != "" {
				v = []byte(o.value)
			}
			b.SetMeta(o.key, v)
		case "conflict":
			b.Conflict([]byte(o.value))
		}
	}
	return nil
}
