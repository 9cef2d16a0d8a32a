package verify

import (
	"geogate/replication/event"
)

// Holding says what a datacenter has applied, at one moment.
type Holding struct {
	Marks []event.Mark // by lives of origins; everything up to there
	Reach []event.Mark // how far beyond the marks the effects of a snapshot may go
}

// State is a datacenter's data by buckets, and what it has applied, of the same moment.
type State struct {
	Holding
	Digests []uint64           // by bucket, of the live keys
	Touches map[string][]int64 // by origin, then bucket: the highest origin revision that made a state in it
}

// Cut is the state without the buckets from n on.
func (s *State) Cut(n int) *State {
	if len(s.Digests) <= n {
		return s
	}
	out := &State{Holding: s.Holding, Digests: s.Digests[:n], Touches: map[string][]int64{}}
	for origin, t := range s.Touches {
		out.Touches[origin] = t[:n]
	}
	return out
}

// Only is the state of some buckets alone, in this order. There must be such buckets.
func (s *State) Only(buckets []int) *State {
	out := &State{Holding: s.Holding, Digests: pick(s.Digests, buckets), Touches: map[string][]int64{}}
	for origin, t := range s.Touches {
		out.Touches[origin] = pick(t, buckets)
	}
	return out
}

func pick[T any](from []T, which []int) []T {
	out := make([]T, len(which))
	for i, n := range which {
		out[i] = from[n]
	}
	return out
}

// Copy is the newest state of a key in one datacenter.
type Copy struct {
	Key      []byte      `json:"key"`
	Known    bool        `json:"known"` // false: there is nothing of the key, nor of its deletion
	Live     bool        `json:"live"`
	Hash     uint64      `json:"hash,string"` // over key, value, lease and origin of a live one
	Origin   string      `json:"origin,omitempty"`
	Revision int64       `json:"revision,omitempty"` // of the origin
	Stamp    event.Stamp `json:"stamp,string,omitempty"`
	System   bool        `json:"system,omitempty"` // an entry of the system table; Key is its name
}

// Same says whether two copies are the same for a reader: deleted and not there are.
func (c *Copy) Same(o *Copy) bool { return c.Live == o.Live && (!c.Live || c.Hash == o.Hash) }

// Version says whether two copies are of the same write, whatever their contents are.
func (c *Copy) Version(o *Copy) bool {
	return c.Known == o.Known && (!c.Known || c.Live == o.Live && c.Origin == o.Origin && c.Revision == o.Revision && c.Stamp == o.Stamp)
}

// Outcome is what a comparison gives.
type Outcome uint8

// The outcomes.
const (
	Equal     Outcome = iota // the same data
	Pending                  // not the same, and not comparable: one has applied what the other has not
	Different                // not the same, although both have applied the same
)

// life is one incarnation of an origin.
type life struct {
	origin      string
	incarnation uint64
}

// Relation is what two datacenters have applied, seen together.
//
// The rule: each datacenter's state of a key is at least as late as every write of it that the datacenter's
// vector covers. If the vector of each covers the write that the other's state is of, each state is at least
// as late as the other, so they are the same one. Nothing more is asked: not that both stand still, nor that
// either has heard of writes that lost. The proof, with deletions and snapshots, is in dc/README.md.
type Relation struct {
	comparable bool // revisions of an origin mean the same on both sides
	same       bool // both have applied the same, all of it
	a, b       map[string]int64
}

// Relate sees two datacenters together.
func Relate(a, b *Holding) Relation {
	pa, ra := split(a)
	pb, rb := split(b)
	r := Relation{a: map[string]int64{}, b: map[string]int64{}, comparable: equal(pa, pb)}
	present := map[string]uint64{}
	place := func(l life) {
		if _, ended := pa[l]; ended {
			r.comparable = false // a reach into a life that has ended: its rest may never come
		}
		if known, ok := present[l.origin]; ok && known != l.incarnation {
			r.comparable = false
		}
		present[l.origin] = l.incarnation
	}
	for _, side := range []struct {
		h       *Holding
		highest map[string]int64
	}{{a, r.a}, {b, r.b}} {
		for _, m := range side.h.Marks {
			if !m.Past && m.Revision > 0 {
				place(life{m.Origin, m.Incarnation})
				side.highest[m.Origin] = m.Revision
			}
		}
		for _, m := range side.h.Reach {
			place(life{m.Origin, m.Incarnation})
		}
	}
	r.same = r.comparable && len(a.Reach)+len(b.Reach) == 0 && equal(ra, rb)
	return r
}

// split gives the revisions of ended and of present lives, without those of which nothing is held.
func split(h *Holding) (past, present map[life]int64) {
	past, present = map[life]int64{}, map[life]int64{}
	for _, m := range h.Marks {
		switch l := (life{m.Origin, m.Incarnation}); {
		case m.Revision == 0:
		case m.Past:
			past[l] = m.Revision
		default:
			present[l] = m.Revision
		}
	}
	return past, present
}

func equal(a, b map[life]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for l, r := range a {
		if b[l] != r {
			return false
		}
	}
	return true
}

// Lives says whether the two know the same lives of all origins. Until they do nothing but equality can be
// found out.
func (r *Relation) Lives() bool { return r.comparable }

// Bucket compares a bucket of the first state with that of the second.
func (r *Relation) Bucket(a, b *State, i int) Outcome {
	switch {
	case a.Digests[i] == b.Digests[i]:
		return Equal
	case r.same || r.comparable && covered(a.Touches, r.b, i) && covered(b.Touches, r.a, i):
		return Different
	}
	return Pending
}

// covered says whether a vector covers the touches of a bucket.
func covered(touches map[string][]int64, vector map[string]int64, i int) bool {
	for origin, t := range touches {
		if t[i] > vector[origin] {
			return false
		}
	}
	return true
}

// Key compares the first datacenter's copy of a key with the second one's. What each has applied must have
// been looked at before its copy.
func (r *Relation) Key(a, b *Copy) Outcome {
	switch {
	case a.Same(b):
		return Equal
	case r.same || r.comparable && (!a.Known || a.Revision <= r.b[a.Origin]) && (!b.Known || b.Revision <= r.a[b.Origin]):
		return Different
	}
	return Pending
}
