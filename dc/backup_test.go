package dc

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
	"geogate/replication/event"
)

// backUp writes a backup as etcdctl would, and returns its path.
func (d *DC) backUp(t testing.TB) string {
	t.Helper()
	size, r, err := d.Backup()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || int64(len(data)) != size {
		t.Fatalf("%d bytes of %d: %v", len(data), size, err)
	}
	return writeBackup(t, data)
}

func writeBackup(t testing.TB, data []byte) string {
	t.Helper()
	sum := sha256.Sum256(data)
	path := filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(path, append(slices.Clone(data), sum[:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// restoreTo makes the data of n nodes out of a backup.
func restoreTo(t testing.TB, name, backup string, n int, bump int64) (dirs []string, got Restored) {
	t.Helper()
	var members []uint64
	for i := range n {
		members = append(members, uint64(i+1))
	}
	for i := range n {
		dir := filepath.Join(t.TempDir(), "data")
		r, err := RestoreBackup(RestoreConfig{
			Backup: backup, Name: name, Dir: dir, ClusterID: 1, NodeID: uint64(i + 1), Members: members, Bump: bump,
		})
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && r != got {
			t.Errorf("node %d is restored as %+v, node 1 as %+v", i+1, r, got)
		}
		dirs, got = append(dirs, dir), r
	}
	return dirs, got
}

// Nodes that are restored from one file are one group: equal from the start, with a new incarnation, and able
// to write.
func TestRestoredNodesAreEqual(t *testing.T) {
	old := newReplica(t, "a")
	for i := range 200 {
		old.put(fmt.Sprintf("k%02d", i%40), fmt.Sprint(i))
	}
	old.del("k07")
	taken := old.store.Revision()
	digest, _ := old.Digest()
	backup := old.backUp(t)

	const bump = 1000
	dirs, got := restoreTo(t, "a", backup, 3, bump)
	if want := (Restored{Taken: taken, Revision: taken + bump, Keys: 39, Digest: digest}); got != want {
		t.Errorf("restored as %+v, want %+v", got, want)
	}
	g := newGroupIn(t, Config{Name: "a"}, dirs)
	ctx := testContext(t)
	g.put(ctx, "new", "1")
	leader := g.leader()
	if leader.Incarnation() == 0 || leader.Incarnation() == old.Incarnation() {
		t.Errorf("incarnation %x, it was %x", leader.Incarnation(), old.Incarnation())
	}
	for _, m := range g.members {
		if err := m.Linearize(ctx); err != nil {
			t.Fatal(err)
		}
		r, err := m.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		if err != nil || r.Count != 40 || r.Header.Revision != taken+bump+1 {
			t.Errorf("%d keys at %d, %v", r.GetCount(), r.GetHeader().GetRevision(), err)
		}
		_, err = m.Range(ctx, &pb.RangeRequest{Key: []byte("k01"), Revision: taken})
		if !errors.Is(err, store.ErrCompacted) {
			t.Errorf("a read at a revision of before: %v", err)
		}
		a, err := m.Hash(ctx, 0)
		b, err2 := g.members[0].Hash(ctx, 0)
		if err := errors.Join(err, err2); err != nil || a != b {
			t.Errorf("hashes %+v and %+v, %v", a, b, err)
		}
	}
	// The data survives restarts, of one node and of all.
	for _, m := range g.members {
		m.kill()
	}
	for _, m := range g.members {
		m.start(t, m.cfg)
	}
	g.put(ctx, "again", "2")
	if r, err := g.leader().Range(ctx, &pb.RangeRequest{Key: []byte("k39")}); err != nil || r.Count != 1 {
		t.Errorf("after a restart: %v, %v", r, err)
	}
}

// A node that was left from before takes over the restored state, and does not bring its own back.
func TestNodeThatWasNotRestored(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	g := newGroupIn(t, Config{Name: "a"}, dirs)
	ctx := testContext(t)
	g.put(ctx, "kept", "1")
	backup := g.leader().backUp(t)
	g.put(ctx, "late", "1")
	for _, m := range g.members {
		m.end(t)
	}
	restoredDirs, _ := restoreTo(t, "a", backup, 3, 1000)
	var addrs []string
	for _, m := range g.members[0].cfg.Consensus.Members {
		addrs = append(addrs, m.Addr)
	}
	again := newGroupAt(t, Config{Name: "a"}, []string{restoredDirs[0], restoredDirs[1], dirs[2]}, addrs)
	again.put(ctx, "new", "1")
	if err := again.members[2].Linearize(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := again.members[2].Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, KeysOnly: true})
	if err != nil || len(r.Kvs) != 2 || string(r.Kvs[0].Key) != "kept" || string(r.Kvs[1].Key) != "new" {
		t.Errorf("%v, %v", r, err)
	}
}

// What the others have beyond a backup comes back from them, and they take what is written in the new life.
func TestRestoredDatacenterCatchesUp(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.put("a1", "in the backup")
	b.put("b1", "in the backup")
	ship(t, a, b)
	ship(t, b, a)
	backup := a.backUp(t)
	a.put("a2", "after it")
	a.put("a1", "changed after it")
	b.put("b2", "after it")
	ship(t, a, b)

	dirs, _ := restoreTo(t, "a", backup, 1, 1000)
	again := reopen(t, dirs[0], "a", "b")
	again.LeaderChanged(1, 1, true)
	again.commitQueued()
	again.put("a3", "second life")
	frames, err := again.Frames("a", 0, 1<<20)
	if err != nil || len(frames) != 1 || frames[0].PrevRevision != 0 {
		t.Fatalf("the new life's chain: %v, %v", frames, err)
	}
	if err := b.frameErr(frames[0]); !errors.Is(err, event.ErrIncarnation) {
		t.Fatalf("a frame of the new life: %v", err)
	}
	ship(t, b, again) // goes on where the backup was
	snapshot(t, b, again, 1<<20, nil)
	snapshot(t, again, b, 1<<20, nil)
	again.put("a4", "goes on")
	ship(t, again, b)
	sameData(t, again, b)
	for key, want := range map[string]string{"a1": "changed after it", "a2": "after it", "a3": "second life", "a4": "goes on", "b1": "in the backup", "b2": "after it"} {
		if got, _ := again.get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// reopen opens what a directory holds, in the place where newReplica would have it.
func reopen(t testing.TB, dir, name string, peers ...string) *replica {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, "store", "db"), filepath.Join(dir, "db")); err != nil {
		t.Fatal(err)
	}
	return openReplica(t, Config{Name: name, Peers: peers, Dir: dir})
}

// A backup can become the data of another datacenter: then its own origin is one among others.
func TestRestoreUnderAnotherName(t *testing.T) {
	a := newReplica(t, "a", "b")
	c := a.put("k", "1")
	dirs, _ := restoreTo(t, "b", a.backUp(t), 1, 0)
	b := reopen(t, dirs[0], "b", "a")
	b.LeaderChanged(1, 1, true)
	b.commitQueued()
	if p := b.Position("a"); p.Revision != c.Revision || p.Incarnation != a.Incarnation() {
		t.Errorf("position of a is %v", p)
	}
	if b.Incarnation() == a.Incarnation() || b.Position("b").Incarnation != b.Incarnation() {
		t.Errorf("b lives as %x, position %v", b.Incarnation(), b.Position("b"))
	}
	a.put("k", "2")
	ship(t, a, b)
	if v, _ := b.get("k"); v != "2" {
		t.Errorf("k is %q", v)
	}
}

func TestWhatCantBeRestored(t *testing.T) {
	r := newReplica(t, "a")
	r.put("k", "v")
	good, err := os.ReadFile(r.backUp(t))
	if err != nil {
		t.Fatal(err)
	}
	data := good[:len(good)-sha256.Size]
	flipped := slices.Clone(good)
	flipped[len(flipped)/2] ^= 1
	inside := slices.Clone(data)
	copy(inside[bytes.LastIndex(inside, []byte("k"))-8:], "12345678")
	for want, backup := range map[string]string{
		"do not end with a checksum":  writeRaw(t, good[:len(good)-100]),
		"it is damaged; take another": writeRaw(t, flipped),
		"no such file":                filepath.Join(t.TempDir(), "absent"),
		"is a snapshot of etcd":       writeBackup(t, boltFile(t, "key", "meta", "members", "cluster")),
		"not one of geogate":          writeBackup(t, boltFile(t, "x")),
		"database is damaged":         writeBackup(t, inside),
	} {
		dir := filepath.Join(t.TempDir(), "data")
		cfg := RestoreConfig{Backup: backup, Name: "a", Dir: dir, ClusterID: 1, NodeID: 1, Members: []uint64{1}}
		_, err := RestoreBackup(cfg)
		if !errors.Is(err, store.ErrBackup) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: %v was left behind (%v)", want, left, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = RestoreBackup(RestoreConfig{Backup: writeRaw(t, good), Name: "a", Dir: dir, ClusterID: 1, NodeID: 1, Members: []uint64{1}})
	if err == nil || !strings.Contains(err.Error(), "precious") {
		t.Errorf("into a directory with data: %v", err)
	}
}

func writeRaw(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// boltFile is a bbolt file with empty buckets.
func boltFile(t testing.TB, buckets ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bolt")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if _, err := tx.CreateBucket([]byte(b)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
