package event

import (
	"slices"
	"testing"
)

func TestLower(t *testing.T) {
	mark := func(origin string, life uint64, revision int64, past bool) Mark {
		return Mark{Position: Position{Origin: origin, Incarnation: life, Revision: revision, Hash: Hash{byte(revision)}}, Past: past}
	}
	marks := []Mark{mark("a", 1, 10, false), mark("b", 1, 10, false), mark("b", 2, 3, true)}
	for _, c := range []struct {
		name         string
		others, want []Mark
		lowered      bool
	}{
		{"equal", marks, marks, false},
		{"further", []Mark{mark("b", 2, 4, true), mark("b", 1, 11, true), mark("a", 1, 12, false)}, marks, false},
		{"one behind", []Mark{mark("a", 1, 9, false), mark("b", 1, 10, true), mark("b", 2, 3, true)},
			[]Mark{mark("a", 1, 9, false), mark("b", 1, 10, false), mark("b", 2, 3, true)}, true},
		{"one unknown", []Mark{mark("a", 2, 10, false), mark("b", 1, 10, false), mark("b", 2, 3, true)}, marks[1:], true},
		{"nothing", nil, nil, true},
	} {
		got, lowered := Lower(marks, c.others)
		if !slices.Equal(got, c.want) || lowered != c.lowered {
			t.Errorf("%s: %v, lowered %t; want %v, %t", c.name, got, lowered, c.want, c.lowered)
		}
	}
	if marks[0].Revision != 10 {
		t.Error("the marks were changed")
	}
}
