package dc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
)

func putRequest(key, value string) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(key), Value: []byte(value)}
}

func testQueue(maxBytes int) *queue {
	q := newQueue(7, event.NewClock(nil), maxBytes, 1<<20)
	q.setLeading(true, nil)
	return q
}

func add(t *testing.T, q *queue, k kind, payload string) *pending {
	t.Helper()
	p, err := q.add(item{kind: k, payload: []byte(payload)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (e *entry) marshal() []byte {
	b := e.appendHead(nil)
	for i := range e.items {
		b = e.items[i].append(b)
	}
	return b
}

func readEntry(b []byte) (*entry, error) {
	e := &entry{}
	return e, e.unmarshal(b)
}

func TestWhatWaitsBecomesOneEntryWritesFirst(t *testing.T) {
	q := testQueue(1 << 20)
	add(t, q, kindFrame, "frame")
	add(t, q, kindPut, "one")
	add(t, q, kindPut, "two")
	add(t, q, kindInit, "init")
	e, err := readEntry(q.take(1, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"init", "one", "two", "frame"}
	for i, it := range e.items {
		if string(it.payload) != want[i] {
			t.Errorf("item %d is %q, want %q", i, it.payload, want[i])
		}
	}
	if q.take(1, 1<<20) != nil {
		t.Error("took an entry of nothing")
	}
}

// TestAnsweredProposalsServeAgain: many writers share proposals; each gets the answer to its own write, whatever
// became of those who left before theirs came.
func TestAnsweredProposalsServeAgain(t *testing.T) {
	q := testQueue(1 << 20)
	stop := make(chan struct{})
	var applier sync.WaitGroup
	applier.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-q.waiting:
			}
			data := q.take(1, 500)
			if data == nil {
				continue
			}
			e, err := readEntry(data)
			if err != nil {
				t.Error(err)
				return
			}
			for i, p := range q.applied(e.first) {
				p.done <- result{err: errors.New(string(e.items[i].payload))}
			}
		}
	})
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 2000 {
				ctx, cancel := context.WithCancel(WithPatience(t.Context(), time.Minute))
				p := q.pending()
				p.buf = fmt.Appendf(p.buf[:0], "%d of %d", i, w)
				want := string(p.buf)
				p.item = item{kind: kindPut, payload: p.buf}
				p, err := q.submit(p)
				if err != nil {
					t.Error(err)
				}
				if i%7 == 0 {
					cancel()
				}
				if r := q.wait(ctx, p); r.err.Error() != want && !errors.Is(r.err, ErrUnknownOutcome) {
					t.Errorf("got %q, want %q", r.err, want)
				}
				cancel()
			}
		})
	}
	writers.Wait()
	close(stop)
	applier.Wait()
}

func TestWhatStillWaitsKeepsItsOrder(t *testing.T) {
	q := testQueue(1 << 20)
	next := 0
	for round := range 300 {
		for range round % 5 {
			add(t, q, kindPut, fmt.Sprint("payload-", round))
		}
		data := q.take(1, 120) // one or two items
		if data == nil {
			continue
		}
		e, err := readEntry(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range e.items {
			var of int
			if _, err := fmt.Sscanf(string(it.payload), "payload-%d", &of); err != nil || of < next {
				t.Fatalf("%q behind one of round %d (%v)", it.payload, next, err)
			}
			next = of
		}
	}
}

func TestEntryIsBoundedAndFramesAreNotStarved(t *testing.T) {
	q := testQueue(1 << 30)
	big := string(bytes.Repeat([]byte("x"), 1000))
	for range 100 {
		add(t, q, kindPut, big)
	}
	add(t, q, kindFrame, "frame")
	for range 3 {
		data := q.take(1, 10_000)
		if len(data) > 12_000 {
			t.Fatalf("entry of %d bytes, the limit is 10,000", len(data))
		}
		e, err := readEntry(data)
		if err != nil {
			t.Fatal(err)
		}
		if e.items[len(e.items)-1].kind == kindFrame {
			return
		}
	}
	t.Error("the frame still waits after three entries")
}

func TestLosingLeadershipAnswersWhatWasNotTaken(t *testing.T) {
	q := testQueue(1 << 20)
	taken := add(t, q, kindPut, "taken")
	q.take(1, 1<<20)
	waiting := add(t, q, kindPut, "waiting")
	q.setLeading(false, ErrNotLeader)
	if r := <-waiting.done; !errors.Is(r.err, ErrNotLeader) {
		t.Errorf("not taken: %v", r.err)
	}
	select {
	case r := <-taken.done:
		t.Fatalf("taken, its fate unknown, but answered %v", r.err)
	default:
	}
	q.supersede(1)
	select {
	case r := <-taken.done:
		t.Fatalf("its own term was applied, answered %v", r.err)
	default:
	}
	q.supersede(2)
	if r := <-taken.done; !errors.Is(r.err, ErrSuperseded) {
		t.Errorf("superseded: %v", r.err)
	}
	if _, err := q.add(item{kind: kindPut}); !errors.Is(err, ErrNotLeader) {
		t.Errorf("add after: %v", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	q := testQueue(100)
	add(t, q, kindPut, string(make([]byte, 90)))
	if _, err := q.add(item{kind: kindPut, payload: make([]byte, 90)}); !errors.Is(err, ErrBusy) {
		t.Errorf("over the bound: %v", err)
	}
	if _, err := q.add(item{kind: kindPut, payload: make([]byte, 2<<20)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the item bound: %v", err)
	}
	q.take(1, 1<<20)
	add(t, q, kindPut, string(make([]byte, 90)))
}

func TestAnAbandonedWriteIsNotProposed(t *testing.T) {
	q := testQueue(1 << 20)
	p := add(t, q, kindPut, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := q.wait(ctx, p); !errors.Is(r.err, ErrUnknownOutcome) {
		t.Errorf("got %v", r.err)
	}
	if q.take(1, 1<<20) != nil {
		t.Error("it was proposed all the same")
	}
}

func FuzzEntry(f *testing.F) {
	q := newQueue(7, event.NewClock(nil), 1<<20, 1<<20)
	q.setLeading(true, nil)
	if _, err := q.add(item{kind: kindPut, payload: []byte("payload")}); err != nil {
		f.Fatal(err)
	}
	f.Add(q.take(1, 1<<20))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := readEntry(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v does not wrap ErrMalformed", err)
			}
			return
		}
		again, err := readEntry(e.marshal())
		if err != nil || len(again.items) != len(e.items) {
			t.Fatalf("does not survive a round trip: %v", err)
		}
	})
}

// FuzzAppendPut: what is encoded here must be what protobuf makes of it, for requests are told by their bytes.
func FuzzAppendPut(f *testing.F) {
	f.Add([]byte("k"), []byte("v"), int64(1), uint8(7))
	f.Add([]byte{}, []byte{}, int64(-1), uint8(0))
	f.Fuzz(func(t *testing.T, key, value []byte, lease int64, flags uint8) {
		r := &pb.PutRequest{Key: key, Value: value, Lease: lease, PrevKv: flags&1 != 0, IgnoreValue: flags&2 != 0, IgnoreLease: flags&4 != 0}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendRequest(nil, r)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x, %v, want %x", got, err, want)
		}
		p, err := decodePut(got)
		if err != nil || !bytes.Equal(p.key, key) || !bytes.Equal(p.value, value) || p.lease != lease ||
			p.prevKv != r.PrevKv || p.ignoreValue != r.IgnoreValue || p.ignoreLease != r.IgnoreLease {
			t.Fatalf("came back as %+v, %v", p, err)
		}
		r.ProtoReflect().SetUnknown([]byte("\xf8\x01\x01")) // of a newer client
		if want, err = (proto.MarshalOptions{Deterministic: true}).Marshal(r); err != nil {
			t.Fatal(err)
		}
		if got, err = appendRequest(nil, r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x, %v, want %x", got, err, want)
		}
	})
}

func FuzzDecodePut(f *testing.F) {
	f.Add([]byte("\x0a\x01k\x12\x01v\x18\x05\x20\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodePut(b); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%v does not wrap ErrMalformed", err)
		}
	})
}

func TestFramesWaitForRoom(t *testing.T) {
	q := testQueue(100)
	add(t, q, kindPut, string(make([]byte, 90)))
	added := make(chan error, 1)
	go func() {
		_, err := q.addPatiently(t.Context(), item{kind: kindFrame, payload: make([]byte, 90)})
		added <- err
	}()
	for q.take(1, 1<<20) != nil { // until the frame has found room and was taken, too
		select {
		case err := <-added:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
	if err := <-added; err != nil {
		t.Fatal(err)
	}
}

// FuzzDecodeTxn: replicas of all builds must see in a transaction what protobuf sees in it.
func FuzzDecodeTxn(f *testing.F) {
	for _, r := range []*pb.TxnRequest{
		{},
		{Compare: []*pb.Compare{versionIs("k", 1), valueIs("l", "v")}, Success: []*pb.RequestOp{opPut("k", "v"), opGet("k")}},
		{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Failure: []*pb.RequestOp{opDelete("a", "b")}})}, Failure: []*pb.RequestOp{opPut("", ""), opDelete("k", "")}},
		{Compare: []*pb.Compare{{Key: []byte("a"), RangeEnd: []byte("b"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: -1}}}},
		{Compare: []*pb.Compare{{TargetUnion: &pb.Compare_CreateRevision{}}, {TargetUnion: &pb.Compare_ModRevision{ModRevision: 1 << 40}}}},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(append(b, 0x12, 0)) // an operation of nothing
		f.Add(append(b, 0xf8, 0x01, 0x01))
	}
	f.Add([]byte("\x12\x08\x12\x03\x0a\x01a\x12\x01b")) // two puts in one operation: protobuf merges them
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := DecodeTxn(b)
		want := &pb.TxnRequest{}
		if bad := proto.Unmarshal(b, want); bad != nil {
			if err == nil || err.Error() != bad.Error() { // what etcd's clients are told
				t.Fatalf("%v, protobuf says %v", err, bad)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		dropUnknown(want)
		if dropUnknown(got); !proto.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// dropUnknown takes out what no replica looks at.
func dropUnknown(r *pb.TxnRequest) {
	r.ProtoReflect().SetUnknown(nil)
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if put := op.GetRequestPut(); put != nil {
				put.ProtoReflect().SetUnknown(nil)
			}
		}
	}
}
