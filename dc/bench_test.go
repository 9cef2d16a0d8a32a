package dc

import (
	"fmt"
	"testing"

	"geogate/consensus"
)

// BenchmarkApplyPuts applies entries of 100 puts over 10,000 keys; an operation is one put.
func BenchmarkApplyPuts(b *testing.B) {
	r := newReplica(b, "a", "b")
	value := string(make([]byte, 100))
	for n := 0; n < b.N; n += 100 {
		b.StopTimer()
		var waiting []*pending
		for i := range 100 {
			waiting = append(waiting, r.enqueue(kindPut, putRequest(fmt.Sprintf("key-%06d", (n+i)*7919%10_000), value)))
		}
		r.index++
		e := consensus.Entry{Index: r.index, Term: 1, Data: r.queue.take(1, 1<<20)}
		b.StartTimer()
		if err := r.Apply([]consensus.Entry{e}); err != nil {
			b.Fatal(err)
		}
		for _, p := range waiting {
			if res := <-p.done; res.err != nil {
				b.Fatal(res.err)
			}
		}
	}
}
