package dc

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
	"geogate/replication/event"
)

// forge seals a frame of a peer behind the last one that r has of it.
func (r *replica) forge(origin string, txns ...event.Txn) event.Sealed {
	r.t.Helper()
	at := r.Position(origin)
	f := &event.Frame{Origin: origin, Incarnation: max(at.Incarnation, 77), PrevRevision: at.Revision, PrevHash: at.Hash, Txns: txns}
	for i := range f.Txns {
		f.Txns[i].Revision, f.Txns[i].Stamp = at.Revision+1+int64(i), event.Stamp(uint64(r.now.UnixMilli())<<16)
	}
	s, err := event.Seal(f)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// value is what a gauge shows.
func value(t testing.TB, g prometheus.Gauge) float64 {
	t.Helper()
	var m dto.Metric
	if err := g.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetGauge().GetValue()
}

const badEntry = "auth/permission/\xff\xff"

// A peer is trusted to change users and roles, and not to write what can be read: what can't is kept as it came, counted,
// and permits nothing. Neither its arrival nor a start with it stops a node.
func TestUnreadableEntryOfAPeerStopsNobody(t *testing.T) {
	byFrame, byChunk := newReplica(t, "a", "b", "c"), newReplica(t, "c", "a", "b")
	byFrame.setUp(rooted...)
	bad := event.Op{Kind: event.OpSystemPut, Key: []byte(badEntry), Value: []byte("\x07what")}
	good := event.Op{Kind: event.OpSystemPut, Key: []byte("auth/user/bob"), Value: []byte{}}
	if err := byFrame.frameErr(byFrame.forge("b", event.Txn{Ops: []event.Op{bad, good}})); err != nil {
		t.Fatal(err)
	}
	byChunk.propose(kindMerge, appendSystem(nil, byFrame.store.System("")))
	check := func(name string, r *replica) {
		t.Helper()
		s := r.Auth()
		if bad := s.Malformed(); len(bad) != 1 || !strings.Contains(bad[0].Error(), `"\xff\xff"`) {
			t.Errorf("%s: told of %v", name, bad)
		}
		if got := value(t, r.metrics.authMalformed); got != 1 {
			t.Errorf("%s: %v are counted", name, got)
		}
		if !s.Enabled || !strings.Contains(strings.Join(s.Users(), " "), "bob") {
			t.Errorf("%s: enabled %t, users %q", name, s.Enabled, s.Users())
		}
		if e := r.store.System(badEntry); len(e) != 1 || string(e[0].Value) != "\x07what" {
			t.Errorf("%s: the entry is %+v", name, e)
		}
		r.setUp("user:" + strings.ReplaceAll(name, " ", "") + ":pw") // and changes go on
	}
	check("by frame", byFrame)
	check("by chunk", byChunk)
	again := byFrame.restart()
	check("opened again", again)
	remove := event.Op{Kind: event.OpSystemDelete, Key: []byte(badEntry)}
	again.now = again.now.Add(1e9)
	if err := again.frameErr(again.forge("b", event.Txn{Ops: []event.Op{remove}})); err != nil {
		t.Fatal(err)
	}
	if bad := again.Auth().Malformed(); len(bad) != 0 || value(t, again.metrics.authMalformed) != 0 {
		t.Errorf("removed, and told of %v", bad)
	}
}

// What a version was written with comes with a chunk as it is, and is looked at much later.
func TestUnreadableVectorOfAPeerStopsNobody(t *testing.T) {
	r := newReplica(t, "a", "b", "c")
	v := store.Version{Key: []byte("k"), Value: []byte("1"), Geo: store.Geo{Origin: "c", OriginRevision: 9, Stamp: 5, Seen: []byte("\xff\xff\xff")}}
	r.propose(kindMerge, appendChunk([]store.Version{v}, nil, nil))
	e := store.SystemEntry{Name: "auth/user/u", Geo: v.Geo}
	r.propose(kindMerge, appendSystem(nil, []*store.SystemEntry{&e}))
	put := event.Op{Kind: event.OpPut, Key: []byte("k"), Value: []byte("2")}
	user := event.Op{Kind: event.OpSystemPut, Key: []byte("auth/user/u")}
	if err := r.frameErr(r.forge("b", event.Txn{Ops: []event.Op{put, user}})); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.get("k"); got != "2" {
		t.Errorf("k is %q", got)
	}
}

// A client that repeats a request gets an answer, whatever the datacenter that applied it has sent of its own.
func TestUnreadableAnswerOfAPeerStopsNobody(t *testing.T) {
	r := newReplica(t, "a", "b")
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("1")}
	r.doAs("mine", kindPut, put)
	rec, err := decodeRecord([]byte(r.remembered("mine")))
	if err != nil || len(rec.hash) != sha256.Size {
		t.Fatalf("%+v, %v", rec, err)
	}
	q := &event.Request{ID: []byte("theirs"), Hash: rec.hash, Outcome: []byte("\xff\xff")}
	op := event.Op{Kind: event.OpPut, Key: []byte("k"), Value: []byte("1")}
	if err := r.frameErr(r.forge("b", event.Txn{Ops: []event.Op{op}, Request: q})); err != nil {
		t.Fatal(err)
	}
	res := r.doAs("theirs", kindPut, put)
	if _, ok := res.response.(*pb.PutResponse); res.err != nil || !ok || !res.commit.Repeated || !res.commit.Reduced {
		t.Errorf("answered %+v", res)
	}
}
