package dc

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
)

func FuzzDecodeRequest(f *testing.F) {
	it, err := item{kind: kindTxn, payload: []byte("payload")}.withID("id")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(it.payload)
	f.Add([]byte("\x18\x82\x02")) // kind 258 is not kind 2
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeRequest(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v does not wrap ErrMalformed", err)
			}
			return
		}
		again, err := q.item.withID(string(q.id))
		if err != nil {
			return // an id that no client may choose
		}
		q2, err := decodeRequest(again.payload)
		if err != nil || !bytes.Equal(q2.id, q.id) || q2.item.kind != q.item.kind || !bytes.Equal(q2.item.payload, q.item.payload) {
			t.Fatalf("%+v came back as %+v, %v", q, q2, err)
		}
	})
}

func FuzzDecodeNoteAndMatrix(f *testing.F) {
	f.Add([]byte(`{"lives":{"a":1},"trim":{"a":{"incarnation":1,"revision":2}}}`))
	f.Add([]byte(`{"a":{"b":3}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := decodeNote(b); err == nil {
			again, err := decodeNote(mustMarshal(n))
			if err != nil || !bytes.Equal(mustMarshal(n), mustMarshal(again)) {
				t.Fatalf("note %+v came back as %+v, %v", n, again, err)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if m, err := decodeMatrix(b); err == nil {
			m.heads()
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		_, _ = decodeBarrier(b)
		if reach, err := decodeReach(b); err == nil && reach == nil {
			t.Fatal("nothing")
		}
		if past, err := decodePast(b); err == nil && past == nil {
			t.Fatal("nothing")
		}
		var a adoption
		if json.Unmarshal(b, &a) == nil {
			for _, r := range a.Marks {
				_, _ = r.mark()
			}
		}
	})
}

func FuzzDecodeOutcome(f *testing.F) {
	r := record{hash: []byte("h"), origin: "o", revision: 3, stamp: 4, local: 5}
	r.keep(&pb.TxnResponse{Succeeded: true})
	f.Add(r.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := decodeRecord(r.marshal())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []*record{r, again} { // absent and empty are the same
			x.hash, x.response = append([]byte{}, x.hash...), append([]byte{}, x.response...)
		}
		if !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v came back as %+v", r, again)
		}
		for _, k := range []kind{kindPut, kindDelete, kindTxn} {
			if response, err := r.answer(k); err == nil && response == nil {
				t.Fatal("no answer")
			}
		}
	})
}

func FuzzSeen(f *testing.F) {
	f.Add(encodeSeen(event.Vector{"a": 1, "b": 1 << 40}), "b")
	f.Fuzz(func(t *testing.T, b []byte, origin string) {
		rev := seenOf(b, origin)
		if again := seenOf(encodeSeen(event.Vector{origin: rev, origin + "x": 7}), origin); again != rev {
			t.Fatalf("%d of %q came back as %d", rev, origin, again)
		}
	})
}

func FuzzDecodePosition(f *testing.F) {
	f.Add(encodePosition(event.Position{Origin: "a", Incarnation: 1, Revision: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePosition("a", b)
		if err == nil && b != nil && !bytes.Equal(encodePosition(p), b) {
			t.Fatalf("%x came back as %x", b, encodePosition(p))
		}
	})
}
