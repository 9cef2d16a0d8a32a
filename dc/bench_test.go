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
	for n := 0; n < b.N; n += putsPerEntry {
		b.StopTimer()
		e := r.entryOfPuts(n/putsPerEntry, keyspace)
		b.StartTimer()
		e.apply()
	}
}

const putsPerEntry = 100

// putsEntry is an entry of puts that nobody has applied, and those who wait for them.
type putsEntry struct {
	r       *replica
	entries []consensus.Entry
	waiting []*pending
	key     []byte // of the last put
}

// entryOfPuts is the n-th entry of 100 puts over 10,000 keys.
func (r *replica) entryOfPuts(n int, keyspace []byte) putsEntry {
	r.t.Helper()
	value := string(make([]byte, 100))
	e := putsEntry{r: r}
	for i := range putsPerEntry {
		req := putRequest(fmt.Sprintf("key-%06d", (n*putsPerEntry+i)*7919%10_000), value)
		payload, err := proto.Marshal(req)
		if err != nil {
			r.t.Fatal(err)
		}
		p, err := r.queue.add(item{kind: kindPut, payload: payload, keyspace: keyspace})
		if err != nil {
			r.t.Fatal(err)
		}
		e.waiting, e.key = append(e.waiting, p), req.Key
	}
	r.index++
	e.entries = []consensus.Entry{{Index: r.index, Term: 1, Data: r.queue.take(1, 1<<20)}}
	return e
}

func (e *putsEntry) apply() {
	if err := e.r.Apply(e.entries); err != nil {
		e.r.t.Fatal(err)
	}
	for _, p := range e.waiting {
		if res := <-p.done; res.err != nil {
			e.r.t.Fatal(res.err)
		}
	}
}
