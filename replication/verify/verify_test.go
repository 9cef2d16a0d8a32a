package verify

import (
	"errors"
	"slices"
	"testing"
	"time"

	"geogate/replication/event"
)

func mark(origin string, incarnation uint64, revision int64) event.Mark {
	return event.Mark{Position: event.Position{Origin: origin, Incarnation: incarnation, Revision: revision}}
}

func ended(m event.Mark) event.Mark { m.Past = true; return m }

func TestBucket(t *testing.T) {
	a1, b1 := mark("a", 1, 10), mark("b", 2, 20)
	for name, c := range map[string]struct {
		left, right    Holding
		touchL, touchR map[string][]int64
		want           Outcome
	}{
		"both cover it":          {Holding{Marks: []event.Mark{a1, mark("b", 2, 15)}}, Holding{Marks: []event.Mark{mark("a", 1, 7), b1}}, touch("a", 7, "b", 3), touch("b", 15), Different},
		"right lacks a's write":  {Holding{Marks: []event.Mark{a1}}, Holding{Marks: []event.Mark{mark("a", 1, 7)}}, touch("a", 8), touch("a", 7), Pending},
		"left lacks b's write":   {Holding{Marks: []event.Mark{a1, mark("b", 2, 15)}}, Holding{Marks: []event.Mark{a1, b1}}, touch("a", 7), touch("b", 16), Pending},
		"right knows no b":       {Holding{Marks: []event.Mark{a1, b1}}, Holding{Marks: []event.Mark{a1}}, touch("a", 7), touch("a", 7), Different},
		"another life of a":      {Holding{Marks: []event.Mark{a1}}, Holding{Marks: []event.Mark{mark("a", 9, 10)}}, touch("a", 3), touch("a", 3), Pending},
		"one has an ended life":  {Holding{Marks: []event.Mark{a1, ended(mark("a", 5, 3))}}, Holding{Marks: []event.Mark{a1}}, touch("a", 3), touch("a", 3), Pending},
		"both have it":           {Holding{Marks: []event.Mark{a1, ended(mark("a", 5, 3))}}, Holding{Marks: []event.Mark{a1, ended(mark("a", 5, 3))}}, touch("a", 3), touch("a", 3), Different},
		"equal, of ended lives":  {Holding{Marks: []event.Mark{a1, ended(mark("a", 5, 30))}}, Holding{Marks: []event.Mark{a1, ended(mark("a", 5, 30))}}, touch("a", 30), touch("a", 30), Different},
		"reach of another life":  {Holding{Marks: []event.Mark{a1}, Reach: []event.Mark{mark("a", 9, 2)}}, Holding{Marks: []event.Mark{a1}}, touch("a", 3), touch("a", 3), Pending},
		"reach beyond the marks": {Holding{Marks: []event.Mark{a1}, Reach: []event.Mark{mark("b", 2, 4)}}, Holding{Marks: []event.Mark{a1, b1}}, touch("b", 4), touch("a", 3), Different},
	} {
		left := &State{Holding: c.left, Digests: []uint64{1}, Touches: c.touchL}
		right := &State{Holding: c.right, Digests: []uint64{2}, Touches: c.touchR}
		for _, s := range [][2]*State{{left, right}, {right, left}} {
			r := Relate(&s[0].Holding, &s[1].Holding)
			if got := r.Bucket(s[0], s[1], 0); got != c.want {
				t.Errorf("%s: %d, want %d", name, got, c.want)
			}
		}
		right.Digests[0] = 1
		r := Relate(&left.Holding, &right.Holding)
		if got := r.Bucket(left, right, 0); got != Equal {
			t.Errorf("%s: equal digests are %d", name, got)
		}
	}
}

func touch(pairs ...any) map[string][]int64 {
	m := map[string][]int64{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = []int64{int64(pairs[i+1].(int))}
	}
	return m
}

func TestBook(t *testing.T) {
	b := NewBook(2)
	one := &State{Digests: []uint64{1, 1}, Touches: touch()}
	other := &State{Digests: []uint64{1, 2}, Touches: touch()}
	r := Relate(&one.Holding, &other.Holding)
	at := time.Unix(100, 0)
	if found := b.Round(at, &r, one, other, nil); len(found) != 0 {
		t.Errorf("found %v at the first look", found)
	}
	if _, ok := b.Oldest(); ok || !b.Unsure() {
		t.Error("a bucket was never equal")
	}
	if found := b.Round(at.Add(time.Second), &r, one, other, nil); len(found) != 1 || found[0] != 1 {
		t.Errorf("found %v at the second look", found)
	}
	if equal, pending, different := b.Counts(); equal != 1 || pending != 0 || different != 1 {
		t.Errorf("%d equal, %d pending, %d different", equal, pending, different)
	}
	if found := b.Round(at.Add(2*time.Second), &r, one, one, nil); len(found) != 0 || b.Unsure() {
		t.Errorf("found %v when all is equal", found)
	}
	if oldest, ok := b.Oldest(); !ok || !oldest.Equal(at.Add(2*time.Second)) {
		t.Errorf("proven since %v, %t", oldest, ok)
	}
}

// TestARoundOfSomeBuckets leaves what is known of the others as it is.
func TestARoundOfSomeBuckets(t *testing.T) {
	b := NewBook(4)
	at := time.Unix(100, 0)
	mine := &State{Digests: []uint64{1, 2, 3, 4}, Touches: map[string][]int64{"a": {9, 9, 9, 9}}}
	theirs := &State{Digests: []uint64{1, 0, 3, 0}, Touches: map[string][]int64{"a": {9, 9, 9, 9}}}
	pending := Relation{comparable: true, a: map[string]int64{"a": 9}, b: map[string]int64{"a": 8}}
	if found := b.Round(at, &pending, mine, theirs, nil); len(found) != 0 {
		t.Errorf("found %v that may be on their way", found)
	}
	open := b.Open()
	if !slices.Equal(open, []int{1, 3}) {
		t.Fatalf("open %v, want those that are not equal", open)
	}
	theirs = &State{Digests: []uint64{7, 2, 7, 0}, Touches: theirs.Touches} // the first and the third are not looked at
	both := Relation{same: true, comparable: true}
	for range Sure {
		at = at.Add(time.Second)
		if found := b.Round(at, &both, mine.Only(open), theirs.Only(open), open); len(found) > 0 && !slices.Equal(found, []int{3}) {
			t.Errorf("found %v, want the fourth", found)
		}
	}
	if equal, pending, different := b.Counts(); equal != 3 || pending != 0 || different != 1 {
		t.Errorf("%d equal, %d pending, %d different", equal, pending, different)
	}
	if n := b.ProvenSince(at); n != 1 {
		t.Errorf("%d buckets are proven by the last round, want the second alone", n)
	}
	if open := b.Open(); !slices.Equal(open, []int{3}) {
		t.Errorf("open %v, want the one in doubt", open)
	}
	if found := b.Round(at, &both, mine.Only([]int{0}), theirs.Only([]int{0}), []int{0}); !slices.Equal(found, []int{3}) {
		t.Errorf("found %v: a bucket that was not looked at is no longer different", found)
	}
}

func TestChoose(t *testing.T) {
	of := func(origin string, stamp event.Stamp, hash uint64) Copy {
		return Copy{Known: true, Live: true, Origin: origin, Revision: 1, Stamp: stamp, Hash: hash}
	}
	grave := Copy{Known: true, Origin: "b", Revision: 2, Stamp: 9}
	for name, c := range map[string]struct {
		copies map[string]Copy
		all    int
		want   string // "" for undecided
	}{
		"later stamp":               {map[string]Copy{"a": of("a", 5, 1), "b": of("b", 6, 2), "c": of("a", 5, 1)}, 3, "b"},
		"later deletion":            {map[string]Copy{"a": of("a", 5, 1), "b": grave, "c": of("a", 5, 1)}, 3, "b"},
		"same write, majority":      {map[string]Copy{"a": of("a", 5, 9), "b": of("a", 5, 1), "c": of("a", 5, 1)}, 3, "b"},
		"same write, origin":        {map[string]Copy{"a": of("a", 5, 9), "b": of("a", 5, 1)}, 2, "a"},
		"same write, origin absent": {map[string]Copy{"b": of("a", 5, 9), "c": of("a", 5, 1)}, 2, ""},
		"lost in one":               {map[string]Copy{"a": {}, "b": of("a", 5, 1), "c": of("a", 5, 1)}, 3, "b"},
		"lost in one of two":        {map[string]Copy{"a": {}, "b": of("a", 5, 1)}, 2, "b"},
		"from nowhere":              {map[string]Copy{"a": {}, "b": of("x", 5, 1), "c": {}}, 3, "a"},
		"nothing at all":            {map[string]Copy{"a": {}}, 2, ""},
	} {
		got, err := Choose(c.copies, c.all)
		if got != c.want || (c.want == "") != errors.Is(err, ErrUndecided) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}
