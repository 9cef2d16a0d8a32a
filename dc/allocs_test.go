package dc

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/test/allocs"
)

// TestAllocationsOfAnEntry applies entries whose puts are of keys that exist.
func TestAllocationsOfAnEntry(t *testing.T) {
	for _, c := range []struct {
		name  string
		peers []string
		shape entryShape
		most  float64
	}{
		{"applying 100 puts", []string{"b"}, entryShape{puts: 100}, 122},
		{"applying 100 puts of others", []string{"b"}, entryShape{puts: 100, unwatched: true}, 22},
		{"applying 16 puts alone", nil, entryShape{puts: 16}, 29},
		{"applying 16 puts of others alone", nil, entryShape{puts: 16, unwatched: true}, 13},
		{"applying 16 transactions", []string{"b"}, entryShape{puts: 16, txns: true}, 82},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t, "a", c.peers...)
			r.queue.alone = len(c.peers) == 0
			payloads := benchPayloads(t, c.shape)[:100]
			all := make([][]byte, benchKeys)
			for i := range all {
				all[i] = payloads[i%len(payloads)]
			}
			for i := range 7 {
				warm := r.entryOf(i, c.shape, all)
				warm.apply()
			}
			entries := make([]putsEntry, 0, allocs.Times)
			for i := range allocs.Times {
				entries = append(entries, r.entryOf(i, c.shape, all))
			}
			next := 0
			allocs.AtMost(t, c.name, c.most, func() {
				entries[next].apply()
				next++
			})
		})
	}
}

func TestAllocationsOfTheQueue(t *testing.T) {
	r := newReplica(t, "a")
	allocs.AtMost(t, "16 puts through the queue", 3, queueOp(t, r, 16))
}

func TestAllocationsOfARange(t *testing.T) {
	r := newReplica(t, "a", "b")
	r.put("key", "value")
	req := &pb.RangeRequest{Key: []byte("key"), Serializable: true}
	allocs.AtMost(t, "a range of one key", 7, func() {
		if resp, err := r.Range(t.Context(), req); err != nil || resp.Count != 1 {
			t.Fatalf("range: %v, %v", resp, err)
		}
	})
}
