package dc

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/test/allocs"
)

// TestAllocationsOfAnEntry applies entries of 100 puts of keys that exist.
func TestAllocationsOfAnEntry(t *testing.T) {
	r := newReplica(t, "a", "b")
	warm := r.entryOfPuts(0, nil)
	warm.apply()
	entries := make([]putsEntry, 0, allocs.Times)
	for i := range allocs.Times {
		entries = append(entries, r.entryOfPuts(i, nil))
	}
	next := 0
	allocs.AtMost(t, "applying 100 puts", 735, func() {
		entries[next].apply()
		next++
	})
}

func TestAllocationsOfARange(t *testing.T) {
	r := newReplica(t, "a", "b")
	e := r.entryOfPuts(0, nil)
	e.apply()
	req := &pb.RangeRequest{Key: e.key, Serializable: true}
	allocs.AtMost(t, "a range of one key", 7, func() {
		if resp, err := r.Range(t.Context(), req); err != nil || resp.Count != 1 {
			t.Fatalf("range: %v, %v", resp, err)
		}
	})
}
