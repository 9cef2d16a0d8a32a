package homes

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestReadmission(t *testing.T) {
	known := Value{Epoch: 3, Home: life(0)}
	home := Reply{Answer: Learned, Epoch: 3, Quiet: true, AtHome: true, Watermark: 7, Data: true}
	other := Reply{Answer: Learned, Epoch: 3, Quiet: true, Data: true}
	with := func(r Reply, change func(*Reply)) Reply { change(&r); return r }
	five := []Voter{{DC: "a"}, {DC: "b"}, {DC: "c"}, {DC: "d"}, {DC: "e"}}
	const never = math.MaxUint64
	for _, c := range []struct {
		name    string
		voters  []Voter
		witness bool
		applied int64
		said    map[string]Reply
		upTo    uint64
		lacks   string
	}{
		{"nobody has answered", nil, false, 7, nil, never, "no answer of a; no answer of b"},
		{"one of two has", nil, false, 7, map[string]Reply{"a": home}, never, "no answer of b"},
		{"all have, and it has caught up", nil, false, 7, map[string]Reply{"a": home, "b": other}, 3, ""},
		{"it has not caught up", nil, false, 6, map[string]Reply{"a": home, "b": other}, 4, "6 of 7 revisions of a"},
		{"a witness has nothing to catch up with", nil, true, 0, map[string]Reply{"a": home, "b": other}, 3, ""},
		{"the home began another life", nil, false, 9, map[string]Reply{"a": with(home, func(r *Reply) { r.AtHome = false }), "b": other}, 4, "a life that has ended"},
		{"a move is open", nil, false, 7, map[string]Reply{"a": home, "b": with(other, func(r *Reply) { r.Quiet = false })}, 4, "a move is open at b"},
		{"one knows more", nil, false, 7, map[string]Reply{"a": home, "b": {Answer: Behind, Epoch: 3, Decided: Value{Epoch: 5}}}, 6, "b knows a later home"},
		{"an answer about another decision", nil, false, 7, map[string]Reply{"a": home, "b": with(other, func(r *Reply) { r.Epoch = 2 })}, never, "no answer of b"},
		{"no answer to learn", nil, false, 7, map[string]Reply{"a": home, "b": with(other, func(r *Reply) { r.Answer = Diverged })}, never, "no answer of b"},
		{"another one lost its past, of three", nil, false, 7, map[string]Reply{"a": home, "b": {Answer: Learned, Epoch: 3, Lost: true}}, never, "2 of 3 datacenters are new or lost"},
		{"another one lost its past, of five", five, false, 7, map[string]Reply{"a": home, "b": other, "d": {Answer: Learned, Epoch: 3, Lost: true}, "e": other}, 3, ""},
		{"three of four others", five, false, 7, map[string]Reply{"a": home, "b": other, "d": other}, 4, "no answer of e"},
		{"two of four others", five, false, 7, map[string]Reply{"a": home, "b": other}, never, "no answer of d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			voters := c.voters
			if voters == nil {
				voters = threeVoters()
			}
			r, err := NewReadmission(Config{Self: "c", Voters: voters}, Life{"c", 9}, known)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // who is asked before it is heard that another one lost its past is asked again
				for dc, reply := range c.said {
					r.Step(dc, reply)
				}
			}
			marks := Marks(func(Life) int64 { return c.applied })
			if c.witness {
				marks = nil
			}
			if upTo := r.UpTo(marks); upTo != c.upTo {
				t.Errorf("no vote up to %d, want %d", upTo, c.upTo)
			}
			if lacks := strings.Join(r.Lacks(marks), "; "); !strings.Contains(lacks, c.lacks) || lacks == "" != (c.lacks == "") {
				t.Errorf("lacks %q, want %q", lacks, c.lacks)
			}
			for dc, reply := range c.said {
				if slices.Contains(r.Due(), dc) == (reply.Answer == Learned && (reply.Quiet || reply.Lost) && reply.Epoch == 3) {
					t.Errorf("%s is due: %v", dc, r.Due())
				}
			}
		})
	}
}

// b lost its past, too, and may have gone on with a move until it did: who was asked before that is heard of may have promised
// something meanwhile.
func TestReadmissionAsksAgain(t *testing.T) {
	r, err := NewReadmission(Config{Self: "c", Voters: []Voter{{DC: "a"}, {DC: "b"}, {DC: "c"}, {DC: "d"}, {DC: "e"}}}, Life{"c", 9}, Value{Epoch: 3, Home: life(0)})
	if err != nil {
		t.Fatal(err)
	}
	quiet := Reply{Answer: Learned, Epoch: 3, Quiet: true, AtHome: true}
	lost := Reply{Answer: Learned, Epoch: 3, Lost: true}
	marks := func(Life) int64 { return 0 }
	r.Step("a", quiet)
	r.Step("d", quiet)
	r.Step("b", lost)
	r.Step("e", quiet)
	if due := r.Due(); !slices.Equal(due, []string{"a", "d"}) || r.UpTo(marks) != 4 {
		t.Errorf("due: %v, no vote up to %d", due, r.UpTo(marks))
	}
	r.Step("a", quiet)
	r.Step("b", lost)
	r.Step("d", quiet)
	if due := r.Due(); len(due) > 0 || r.UpTo(marks) != 3 {
		t.Errorf("due: %v, no vote up to %d", due, r.UpTo(marks))
	}
}

// Who voted for the first home is not in the place of one that lost its data, whichever decision it hears of first.
func TestAmnesia(t *testing.T) {
	first := Value{Epoch: 1, Home: life(0)}
	second := Value{Epoch: 2, Home: life(1), Past: []Tenure{{1, life(0), 5}}}
	later := Value{Epoch: 7, Home: life(1), Past: []Tenure{{6, life(0), 5}}}
	voted := State{Vote: Proposal{Ballot{1, "a"}, first}}
	for i, c := range []struct {
		s    State
		c    Command
		want bool
	}{
		{State{}, Command{Kind: Prepare}, false},
		{State{}, Command{Kind: Prepare, Known: first}, true},
		{State{}, Command{Kind: Learn, Known: first}, true},
		{State{Promised: Ballot{1, "c"}}, Command{Kind: Learn, Known: Value{Epoch: 1, Home: Life{"c", 9}}}, false}, // the founder itself
		{State{}, Command{Kind: Learn, Known: Value{Epoch: 1, Home: Life{"c", 8}}}, true},                          // its life before
		{State{}, Command{Kind: Force, Known: first}, false},
		{State{Promised: Ballot{1, "a"}}, Command{Kind: Learn, Known: first}, true},
		{State{Barred: 1}, Command{Kind: Learn, Known: first}, false},
		{State{Decided: first}, Command{Kind: Learn, Known: second}, false},
		{voted, Command{Kind: Learn, Known: first}, false},
		{voted, Command{Kind: Learn, Known: second}, false},
		{voted, Command{Kind: Learn, Known: later}, true},
		{voted, Command{Kind: Learn, Known: Value{Epoch: 1, Home: life(1)}}, true},
	} {
		if got := c.s.Amnesic(Life{"c", 9}, c.c); got != c.want {
			t.Errorf("case %d: %v", i, got)
		}
	}
}
