package dc

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"geogate/consensus"
	"geogate/replication/homes"
)

// BenchmarkApplyPuts applies entries of 100 puts over 10,000 keys; an operation is one put.
func BenchmarkApplyPuts(b *testing.B) {
	benchmarkPuts(b, newReplica(b, "a", "b"), nil)
}

// BenchmarkApplyHomePuts is the same in a single-writer keyspace.
func BenchmarkApplyHomePuts(b *testing.B) {
	r := newReplica(b, "a", "b")
	r.register(homes.Command{Kind: homes.Learn, Keyspace: "key", Known: homes.Value{Epoch: 1, Home: r.Life()}})
	benchmarkPuts(b, r, []byte("key"))
}

func benchmarkPuts(b *testing.B, r *replica, keyspace []byte) {
	value := string(make([]byte, 100))
	for n := 0; n < b.N; n += 100 {
		b.StopTimer()
		var waiting []*pending
		for i := range 100 {
			payload, err := proto.Marshal(putRequest(fmt.Sprintf("key-%06d", (n+i)*7919%10_000), value))
			if err != nil {
				b.Fatal(err)
			}
			p, err := r.queue.add(item{kind: kindPut, payload: payload, keyspace: keyspace})
			if err != nil {
				b.Fatal(err)
			}
			waiting = append(waiting, p)
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
