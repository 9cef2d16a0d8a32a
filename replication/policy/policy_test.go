package policy

import (
	"errors"
	"testing"
)

func TestNeeds(t *testing.T) {
	for _, c := range []struct {
		p    Policy
		n    int
		want int
	}{
		{Async, 1, 1}, {Async, 5, 1}, {Any, 1, 2}, {Any, 2, 2}, {Any, 5, 2},
		{Quorum, 1, 1}, {Quorum, 2, 2}, {Quorum, 3, 2}, {Quorum, 4, 3}, {Quorum, 5, 3},
		{All, 1, 1}, {All, 3, 3},
	} {
		if got := c.p.Needs(c.n); got != c.want {
			t.Errorf("%s of %d needs %d, want %d", c.p, c.n, got, c.want)
		}
	}
}

func TestMetRevision(t *testing.T) {
	for _, c := range []struct {
		p         Policy
		local     int64
		confirmed []int64
		want      int64
	}{
		{Async, 9, []int64{1, 2}, 9},
		{Any, 9, []int64{1, 7}, 7},
		{Any, 9, nil, 0},
		{Quorum, 9, []int64{1, 7}, 7},
		{Quorum, 9, []int64{8, 1, 7, 2}, 7},
		{Quorum, 9, []int64{3}, 3},
		{All, 9, []int64{8, 1, 7, 2}, 1},
		{All, 9, nil, 9},
		{All, 5, []int64{9, 9}, 5},
	} {
		if got := c.p.MetRevision(c.local, append([]int64(nil), c.confirmed...)); got != c.want {
			t.Errorf("%s with %d here and %v confirmed: %d, want %d", c.p, c.local, c.confirmed, got, c.want)
		}
	}
}

// TestMetRevisionAgreesWithMet counts by hand what MetRevision computes.
func TestMetRevisionAgreesWithMet(t *testing.T) {
	for _, p := range []Policy{Async, Any, Quorum, All} {
		for i := range 4 * 4 * 4 * 4 {
			confirmed := []int64{int64(i % 4), int64(i / 4 % 4), int64(i / 16 % 4)}
			local := int64(i / 64 % 4)
			met := p.MetRevision(local, append([]int64(nil), confirmed...))
			for r := int64(1); r <= local; r++ {
				count := 1
				for _, c := range confirmed {
					if c >= r {
						count++
					}
				}
				if p.Met(4, count) != (r <= met) {
					t.Fatalf("%s, local %d, confirmed %v: met up to %d, but %d DCs have %d", p, local, confirmed, met, count, r)
				}
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, p := range []Policy{Async, Any, Quorum, All} {
		text, err := p.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var q Policy
		if err := q.UnmarshalText(text); err != nil || q != p {
			t.Errorf("%s: %s, %v", text, q, err)
		}
	}
	if p, err := Parse("quorum"); err != nil || p != Quorum {
		t.Errorf("lower case: %v, %v", p, err)
	}
	if _, err := Parse("most"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if s := Policy(9).String(); s != "Policy(9)" {
		t.Errorf("got %s", s)
	}
}
