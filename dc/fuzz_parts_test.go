package dc

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
	"geogate/replication/homes"
	"geogate/replication/verify"
)

// FuzzDecodeAuth: any bytes are a request about users with a secret, which can be written and read again, or
// ErrMalformed.
func FuzzDecodeAuth(f *testing.F) {
	r, err := proto.Marshal(&pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: "u"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encodeAuth(r, newSecret()))
	f.Add(encodeAuth(nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, secret, err := decodeAuth(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v does not wrap ErrMalformed", err)
			}
			return
		}
		raw, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, s2, err := decodeAuth(encodeAuth(raw, secret))
		if err != nil || !proto.Equal(r, again) || !bytes.Equal(secret, s2) {
			t.Fatalf("%v came back as %v, %v", r, again, err)
		}
	})
}

// FuzzDecodeRepair: any bytes are a repair of one key or an error that wraps ErrMalformed.
func FuzzDecodeRepair(f *testing.F) {
	r := repair{
		seen: verify.Copy{Key: []byte("k"), Known: true, Live: true, Origin: "a", Revision: 7, Stamp: 9}, create: 3, version: 2,
		chunk: appendChunk([]store.Version{{Key: []byte("k"), Value: []byte("v"), Geo: store.Geo{Origin: "b", OriginRevision: 8, Stamp: 10}}}, nil, nil),
	}
	f.Add(r.marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, right, err := decodeRepair(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v does not wrap ErrMalformed", err)
			}
			return
		}
		r.seen.Key = right.Key
		again, right2, err := decodeRepair(r.marshal())
		if err != nil || !bytes.Equal(right.Key, right2.Key) || again.seen.Revision != r.seen.Revision || again.create != r.create {
			t.Fatalf("%+v came back as %+v, %v", r, again, err)
		}
	})
}

// FuzzCursor: any bytes are a place of an export, and the place that an export names is the one that it goes on at.
func FuzzCursor(f *testing.F) {
	f.Add([]byte("k"))
	f.Add(cursorOfSystem(7, "auth/enabled"))
	f.Add(cursorOfKey(7, []byte(cursorMark+"x")))
	f.Add(cursorOfRequest(7, 3))
	f.Add([]byte(cursorMark))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseCursor(b)
		for _, bound := range []uint64{0, 9} {
			if p := parseCursor(cursorOfKey(bound, b)); p.phase != cursorKey || !bytes.Equal(p.key, b) || p.bound != bound {
				t.Fatalf("behind key %q comes %+v", b, p)
			}
			if p := parseCursor(cursorOfSystem(bound, string(b))); p.phase != cursorSystem || p.name != string(b) || p.bound != bound {
				t.Fatalf("behind entry %q comes %+v", b, p)
			}
		}
	})
}

// FuzzDecodeMeta reads what this package keeps in the store's small state.
func FuzzDecodeMeta(f *testing.F) {
	f.Add(mustMarshal([]alarm{{Member: 1, Type: 2}}))
	f.Add([]byte(`[{"origin":"a","incarnation":3,"revision":4}]`))
	f.Add([]byte(`{"":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if as, err := decodeAlarms(b); err == nil {
			as.sorted(pb.AlarmType_NONE)
		}
		if marks, err := decodeMarks(b); err == nil {
			for _, m := range marks {
				_ = m.Position
			}
		}
		_, _ = decodePast(b)
		_, _ = decodeDegraded(b)
		_, _ = decodeUint64("x", b)
	})
}

// FuzzDecodeRegister: any bytes are a register that can be written and read again, or an error.
func FuzzDecodeRegister(f *testing.F) {
	home := homes.Life{DC: "a", Incarnation: 7}
	r := register{
		state: homes.State{Decided: homes.Value{Epoch: 2, Home: home, Past: []homes.Tenure{{Epoch: 1, Home: home, Cut: 9}}}},
		taken: 2, starts: []tenureStart{{epoch: 1, home: home, revision: 3}}, lost: []tail{{dc: "a", life: 7, after: 1, upTo: 2}},
		overrun: &overrun{tails: []tail{{dc: "a", after: 1, upTo: 2, scan: true}}, at: 1, after: 4, key: []byte("k"), back: 5},
	}
	f.Add(r.marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRegister("k", b)
		if err != nil {
			return
		}
		again, err := decodeRegister("k", r.marshal())
		if err != nil || !bytes.Equal(again.marshal(), r.marshal()) {
			t.Fatalf("%+v came back as %+v, %v", r, again, err)
		}
	})
}

// FuzzDecodeAside: any bytes are a write that was set aside, which can be written and read again, or an error.
func FuzzDecodeAside(f *testing.F) {
	w := aside{
		keyspace: "k", epoch: 3, origin: homes.Life{DC: "a", Incarnation: 7}, revision: 4, stamp: 5, key: []byte("k"), old: []byte("o"),
		existed: true, value: []byte("v"), lease: 6, at: 7, base: &Written{Origin: "b", Revision: 8, Stamp: 9, Live: true},
	}
	f.Add(w.marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := decodeAside(1, b)
		if err != nil {
			return
		}
		again, err := decodeAside(1, w.marshal())
		if err != nil || !bytes.Equal(again.marshal(), w.marshal()) {
			t.Fatalf("%+v came back as %+v, %v", w, again, err)
		}
	})
}
