package dc

import (
	"bytes"
	"context"
	"errors"
	"testing"

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
		again, err := readEntry(e.marshal(len(b)))
		if err != nil || len(again.items) != len(e.items) {
			t.Fatalf("does not survive a round trip: %v", err)
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
