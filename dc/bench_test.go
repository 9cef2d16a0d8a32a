package dc

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"geogate/consensus"
	"geogate/replication/homes"
)

// BenchmarkApplyPuts applies entries of puts over 10,000 keys; an operation is one put. Alone there are no peers, so
// no frames. Where nobody waits, the replica is not the one that proposed: two of three are such.
func BenchmarkApplyPuts(b *testing.B) {
	for _, peers := range []bool{false, true} {
		for _, puts := range []int{1, 16, 64} {
			for _, waited := range []bool{false, true} {
				b.Run(fmt.Sprintf("peers=%t/puts=%d/waited=%t", peers, puts, waited), func(b *testing.B) {
					r := newBenchReplica(b, peers)
					benchmarkEntries(b, r, entryShape{puts: puts, unwatched: !waited})
				})
			}
		}
	}
}

// BenchmarkApplyTxns is the same with transactions of a comparison and a put.
func BenchmarkApplyTxns(b *testing.B) {
	benchmarkEntries(b, newBenchReplica(b, true), entryShape{puts: 16, txns: true})
}

// BenchmarkApplyHomePuts is the same in a single-writer keyspace.
func BenchmarkApplyHomePuts(b *testing.B) {
	r := newBenchReplica(b, true)
	r.register(homes.Command{Kind: homes.Learn, Keyspace: "key", Known: homes.Value{Epoch: 1, Home: r.Life()}})
	benchmarkEntries(b, r, entryShape{puts: 64, keyspace: []byte("key")})
}

// BenchmarkQueue encodes puts, packs entries of them and answers those who wait; an operation is one put.
func BenchmarkQueue(b *testing.B) {
	for _, puts := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("puts=%d", puts), func(b *testing.B) {
			r := newBenchReplica(b, false)
			op := queueOp(b, r, puts)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += puts {
				op()
			}
		})
	}
}

// queueOp has some writers put, their puts taken as one entry, and then answered.
func queueOp(tb testing.TB, r *replica, puts int) func() {
	req := putRequest("key-000000", string(make([]byte, 256)))
	ctx := WithPatience(tb.Context(), time.Minute)
	waiting := make([]*pending, 0, puts)
	return func() {
		waiting = waiting[:0]
		for range puts {
			p := r.queue.pending()
			if err := r.fill(ctx, p, kindPut, req); err != nil {
				tb.Fatal(err)
			}
			p, err := r.queue.submit(p)
			if err != nil {
				tb.Fatal(err)
			}
			waiting = append(waiting, p)
		}
		first := r.queue.next
		r.queue.take(1, 1<<20)
		for _, p := range r.queue.applied(first) {
			p.done <- result{}
		}
		for _, p := range waiting {
			if got := r.queue.wait(ctx, p); got.err != nil {
				tb.Fatal(got.err)
			}
		}
	}
}

// newBenchReplica flushes in the background, as a node does.
func newBenchReplica(b *testing.B, peers bool) *replica {
	var names []string
	if peers {
		names = []string{"b", "c"}
	}
	r := newReplica(b, "a", names...)
	r.queue.alone = !peers
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- r.store.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return r
}

// entryShape says what the entries of a benchmark are like.
type entryShape struct {
	puts      int
	txns      bool // each put is one of a transaction with a comparison
	unwatched bool // applied by a replica that has not proposed them
	keyspace  []byte
}

func (s *entryShape) kind() kind {
	if s.txns {
		return kindTxn
	}
	return kindPut
}

const benchKeys = 10_000

// benchPayloads are requests for each of the keys.
func benchPayloads(tb testing.TB, s entryShape) [][]byte {
	tb.Helper()
	value := string(make([]byte, 256))
	out := make([][]byte, benchKeys)
	for i := range out {
		put := putRequest(fmt.Sprintf("key-%06d", i), value)
		var req proto.Message = put
		if s.txns {
			req = &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: put.Key, Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: -1}}},
				Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
			}
		}
		var err error
		if out[i], err = proto.Marshal(req); err != nil {
			tb.Fatal(err)
		}
	}
	return out
}

func benchmarkEntries(b *testing.B, r *replica, s entryShape) {
	payloads := benchPayloads(b, s)
	const prepared = 16 // as many as may be in flight
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		b.StopTimer()
		entries := make([]putsEntry, 0, prepared)
		for ; n < b.N && len(entries) < prepared; n += s.puts {
			entries = append(entries, r.entryOf(n/s.puts, s, payloads))
		}
		b.StartTimer()
		for i := range entries {
			entries[i].apply()
		}
	}
}

// putsEntry is an entry of puts that nobody has applied, and those who wait for them.
type putsEntry struct {
	r       *replica
	entries []consensus.Entry
	waiting []*pending
}

// entryOf is the n-th entry of puts.
func (r *replica) entryOf(n int, s entryShape, payloads [][]byte) putsEntry {
	r.t.Helper()
	e := putsEntry{r: r, waiting: make([]*pending, 0, s.puts)}
	for i := range s.puts {
		p, err := r.queue.add(item{kind: s.kind(), payload: payloads[(n*s.puts+i)*7919%benchKeys], keyspace: s.keyspace})
		if err != nil {
			r.t.Fatal(err)
		}
		e.waiting = append(e.waiting, p)
	}
	first := r.queue.next
	data := r.queue.take(1, 1<<20)
	if s.unwatched {
		r.queue.applied(first) // and nobody waits for them any more
		e.waiting = nil
	}
	r.index++
	e.entries = []consensus.Entry{{Index: r.index, Term: 1, Data: data}}
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
