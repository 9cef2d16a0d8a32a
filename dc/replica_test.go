package dc

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"geogate/consensus"
	"geogate/dc/store"
	"geogate/replication/event"
)

// replica is a DC without a consensus group: the test decides what the log holds.
type replica struct {
	*DC
	t     testing.TB
	index uint64
	now   time.Time
}

func newReplica(t testing.TB, name string, peers ...string) *replica {
	t.Helper()
	r := openReplica(t, Config{Name: name, Peers: peers, Dir: t.TempDir()})
	r.LeaderChanged(1, 1, true)
	r.commitQueued()
	return r
}

// openReplica opens one that has applied what its directory holds, and does not lead.
func openReplica(t testing.TB, cfg Config) *replica {
	t.Helper()
	r := &replica{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	cfg.Now = func() time.Time { return r.now }
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{Path: filepath.Join(cfg.Dir, "db"), NoSync: true, ConflictLogSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	r.index = s.Applied().Index
	clock := event.NewClock(cfg.Now)
	r.DC = &DC{
		cfg: cfg, log: cfg.Logger, clock: clock, store: s, metrics: newMetrics(nil),
		origins: append([]string{cfg.Name}, cfg.Peers...),
		queue:   newQueue(newID(), clock, cfg.MaxQueueBytes, cfg.MaxRequestBytes+requestSlackBytes),
		space:   newSpace(&cfg),
	}
	r.leases = newLeases(&r.cfg, r.metrics)
	if err := r.leases.load(s); err != nil {
		t.Fatal(err)
	}
	r.leadership.changed = make(chan struct{})
	if r.state, err = loadState(s.Meta); err != nil {
		t.Fatal(err)
	}
	if err := r.loadHomes(); err != nil {
		t.Fatal(err)
	}
	if err := r.loadAuth(); err != nil {
		t.Fatal(err)
	}
	r.publish(0)
	return r
}

// commitQueued applies everything that waits in the queue.
func (r *replica) commitQueued() {
	r.t.Helper()
	for {
		data := r.queue.take(1, 1<<20)
		if data == nil {
			return
		}
		r.apply(data)
	}
}

func (r *replica) apply(data []byte) {
	r.t.Helper()
	r.index++
	if err := r.Apply([]consensus.Entry{{Index: r.index, Term: 1, Data: data}}); err != nil {
		r.t.Fatalf("apply: %v", err)
	}
}

// enqueue adds a request without committing it.
func (r *replica) enqueue(k kind, req proto.Message) *pending {
	r.t.Helper()
	payload, err := proto.Marshal(req)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := r.queue.add(item{kind: k, payload: payload})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *replica) do(k kind, req proto.Message) result {
	r.t.Helper()
	p := r.enqueue(k, req)
	r.commitQueued()
	return <-p.done
}

func (r *replica) put(key, value string) Commit {
	r.t.Helper()
	res := r.do(kindPut, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if res.err != nil {
		r.t.Fatalf("put %s: %v", key, res.err)
	}
	return res.commit
}

func (r *replica) del(key string) Commit {
	r.t.Helper()
	res := r.do(kindDelete, &pb.DeleteRangeRequest{Key: []byte(key)})
	if res.err != nil {
		r.t.Fatalf("delete %s: %v", key, res.err)
	}
	return res.commit
}

func (r *replica) get(key string) (string, bool) {
	r.t.Helper()
	res, err := rangeOver(r.store, &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(res.Kvs) == 0 {
		return "", false
	}
	return string(res.Kvs[0].Value), true
}

// receive proposes frames in one entry and returns what each was answered.
func (r *replica) receive(frames ...event.Sealed) []error {
	r.t.Helper()
	var ps []*pending
	for _, f := range frames {
		p, err := r.queue.add(item{kind: kindFrame, payload: f.Bytes})
		if err != nil {
			r.t.Fatal(err)
		}
		ps = append(ps, p)
	}
	r.commitQueued()
	var errs []error
	for _, p := range ps {
		errs = append(errs, (<-p.done).err)
	}
	return errs
}

// next returns what dst lacks of src's own chain.
func (r *replica) next(dst *replica) []event.Sealed {
	r.t.Helper()
	frames, err := r.Frames(r.cfg.Name, dst.Position(r.cfg.Name).Revision, 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	return frames
}

// ship delivers everything of src to dst.
func ship(t testing.TB, src, dst *replica) {
	t.Helper()
	for {
		frames := src.next(dst)
		if len(frames) == 0 {
			return
		}
		for i, err := range dst.receive(frames...) {
			if err != nil {
				t.Fatalf("frame %d of %s at %s: %v", i, src.cfg.Name, dst.cfg.Name, err)
			}
		}
	}
}

func (r *replica) confirm(all ...*replica) {
	r.t.Helper()
	m := matrixEntry{}
	for _, x := range all {
		m[x.cfg.Name] = x.Vector()
	}
	payload, err := json.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.queue.add(item{kind: kindConfirm, payload: payload}); err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
}

// noted commits a confirmation of nothing with a note.
func (r *replica) noted(n note) {
	r.t.Helper()
	if _, err := r.queue.add(item{kind: kindConfirm, payload: []byte("{}"), note: mustMarshal(n)}); err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
}

// trimTo has a datacenter drop its own frames up to a revision, as what has gone past retention.
func (r *replica) trimTo(upTo int64) {
	r.t.Helper()
	r.noted(note{Trim: map[string]excess{r.cfg.Name: {Incarnation: r.Incarnation(), Revision: upTo}}})
}

// compact compacts all history, and has the disk forget it, too.
func (r *replica) compact() {
	r.t.Helper()
	r.do(kindCompact, &pb.CompactionRequest{Revision: r.Revision()})
	for range 3 {
		if err := r.store.Flush(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func sameData(t testing.TB, rs ...*replica) {
	t.Helper()
	want, vector := rs[0].Digest()
	for _, r := range rs {
		got, v := r.Digest()
		if fmt.Sprint(v) != fmt.Sprint(vector) {
			t.Fatalf("vectors differ: %s has %v, %s has %v", rs[0].cfg.Name, vector, r.cfg.Name, v)
		}
		if got != want {
			t.Fatalf("equal vectors, unequal digests: %s %016x, %s %016x", rs[0].cfg.Name, want, r.cfg.Name, got)
		}
		if scan, err := r.store.ScanDigest(); err != nil || scan != got {
			t.Fatalf("%s keeps digest %016x, its data has %016x (%v)", r.cfg.Name, got, scan, err)
		}
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
