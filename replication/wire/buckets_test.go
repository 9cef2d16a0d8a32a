package wire

import (
	"slices"
	"testing"

	"geogate/replication/verify"
)

func TestBucketsComeBackFromTheirSet(t *testing.T) {
	for _, want := range [][]int{{0}, {7}, {8}, {0, 1, 7, 8, 15, 4096}, {4095}} {
		if got := Buckets(BucketSet(want), 4097); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if BucketSet(nil) != nil || Buckets(nil, 8) != nil {
		t.Error("all buckets need no set")
	}
	if got := Buckets([]byte{0xff, 0xff, 0xff}, 10); len(got) != 10 {
		t.Errorf("%v of 10 buckets", got)
	}
	if got := Buckets([]byte{0}, 8); got == nil || len(got) != 0 {
		t.Errorf("a set of none is %v, want none", got)
	}
}

// TestSomeBucketsMustBeThoseAskedFor: who answers for more or fewer is not read.
func TestSomeBucketsMustBeThoseAskedFor(t *testing.T) {
	var x VerifyReply
	all := &verify.State{Digests: []uint64{1, 2, 3}, Touches: map[string][]int64{"a": {4, 5, 6}}}
	x.SetState(all.Only([]int{0, 2}))
	s, err := x.Some(2)
	if err != nil || !slices.Equal(s.Digests, []uint64{1, 3}) || !slices.Equal(s.Touches["a"], []int64{4, 6}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, n := range []int{1, 3} {
		if _, err := x.Some(n); err == nil {
			t.Errorf("2 buckets pass for %d", n)
		}
	}
	x.Touches[0].Revisions = x.Touches[0].Revisions[:1]
	if _, err := x.Some(2); err == nil {
		t.Error("touches of another number of buckets pass")
	}
}
