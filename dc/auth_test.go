package dc

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.etcd.io/etcd/api/v3/authpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"google.golang.org/protobuf/proto"

	"geogate/consensus"
	"geogate/dc/auth"
	"geogate/replication/event"
)

// authItem is a change of users and roles that the present ones permit.
func (r *replica) authItem(req *pb.InternalRaftRequest) item {
	r.t.Helper()
	raw, err := proto.Marshal(req)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx := WithAuthRevision(context.Background(), r.Auth().Revision)
	return item{kind: kindAuth, payload: encodeAuth(raw, newSecret()), auth: r.authRevision(ctx)}
}

func (r *replica) changeAuth(req *pb.InternalRaftRequest) error {
	r.t.Helper()
	p, err := r.queue.add(r.authItem(req))
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	return (<-p.done).err
}

// setUp runs words: "user:u", "role:r", "grant:u:r", "perm:r:key:end", "pass:u:p", "-user:u", "-role:r",
// "-grant:u:r", "-perm:r:key:end", "enable", "disable". Time goes on with each.
func (r *replica) setUp(words ...string) {
	r.t.Helper()
	for _, w := range words {
		if err := r.change(w); err != nil {
			r.t.Fatalf("%s: %v", w, err)
		}
	}
}

func (r *replica) change(word string) error {
	r.t.Helper()
	r.now = r.now.Add(time.Millisecond)
	f := append(strings.Split(word, ":"), "", "", "")
	hash := base64.StdEncoding.EncodeToString([]byte("hash of " + f[2]))
	q := &pb.InternalRaftRequest{}
	switch f[0] {
	case "user":
		q.AuthUserAdd = &pb.AuthUserAddRequest{Name: f[1], HashedPassword: hash}
	case "-user":
		q.AuthUserDelete = &pb.AuthUserDeleteRequest{Name: f[1]}
	case "pass":
		q.AuthUserChangePassword = &pb.AuthUserChangePasswordRequest{Name: f[1], HashedPassword: hash}
	case "role":
		q.AuthRoleAdd = &pb.AuthRoleAddRequest{Name: f[1]}
	case "-role":
		q.AuthRoleDelete = &pb.AuthRoleDeleteRequest{Role: f[1]}
	case "grant":
		q.AuthUserGrantRole = &pb.AuthUserGrantRoleRequest{User: f[1], Role: f[2]}
	case "-grant":
		q.AuthUserRevokeRole = &pb.AuthUserRevokeRoleRequest{Name: f[1], Role: f[2]}
	case "perm":
		q.AuthRoleGrantPermission = &pb.AuthRoleGrantPermissionRequest{Name: f[1],
			Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte(f[2]), RangeEnd: []byte(f[3])}}
	case "-perm":
		q.AuthRoleRevokePermission = &pb.AuthRoleRevokePermissionRequest{Role: f[1], Key: []byte(f[2]), RangeEnd: []byte(f[3])}
	case "enable":
		q.AuthEnable = &pb.AuthEnableRequest{}
	case "disable":
		q.AuthDisable = &pb.AuthDisableRequest{}
	default:
		r.t.Fatalf("word %q", word)
	}
	return r.changeAuth(q)
}

// authText is all that users and roles say, without what is the DC's own.
func (r *replica) authText() string {
	r.t.Helper()
	var b strings.Builder
	s := r.Auth()
	fmt.Fprintf(&b, "enabled %t\n", s.Enabled)
	for _, u := range s.Users() {
		roles, _ := s.RolesOf(u)
		hash, err := s.Hash(u)
		generation, _ := s.Generation(u)
		fmt.Fprintf(&b, "user %s %q %v %q %v %x\n", u, roles, s.MayAdminister(u), hash, err, generation)
	}
	for _, role := range s.Roles() {
		perms, err := s.Permissions(role)
		fmt.Fprintf(&b, "role %s %v %v\n", role, perms, err)
	}
	return b.String()
}

var rooted = []string{"user:root:secret", "role:root", "grant:root:root", "enable"}

func TestUsersReachTheOtherDatacenters(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.setUp(rooted...)
	a.setUp("user:ann:pw", "role:app", "perm:app:/app/:/app0", "grant:ann:app")
	before := b.Auth()
	ship(t, a, b)
	sameData(t, a, b)
	if got, want := b.authText(), a.authText(); got != want || !strings.Contains(got, "enabled true") {
		t.Errorf("b has\n%swant\n%s", got, want)
	}
	if before.Enabled || b.Auth().Revision <= before.Revision {
		t.Errorf("revision went from %d to %d", before.Revision, b.Auth().Revision)
	}
	if err := b.Auth().May("ann", true, []byte("/app/x"), nil); err != nil {
		t.Errorf("ann at b: %v", err)
	}
	b.commitQueued() // the leader of b proposes a secret when it sees that it needs one
	if len(b.Auth().Secret) != secretBytes || string(b.Auth().Secret) == string(a.Auth().Secret) {
		t.Errorf("secret of b has %d bytes, of a %d", len(b.Auth().Secret), len(a.Auth().Secret))
	}
	if _, ok := a.get("auth/user/ann"); ok || a.store.Keys() != 0 {
		t.Error("users are keys")
	}
}

// A user who was deleted and made again must not have what somebody granted the old one at the same time.
func TestANewUserHasNothingOfTheOldOne(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.setUp("user:bob:1", "role:admin", "role:app", "grant:bob:app")
	ship(t, a, b)
	b.now = a.now
	b.setUp("grant:bob:admin", "perm:app:k:")
	a.now = b.now.Add(time.Second)
	a.setUp("-user:bob", "user:bob:2", "-role:app", "role:app")
	ship(t, a, b)
	ship(t, b, a)
	sameData(t, a, b)
	if got := b.authText(); got != a.authText() {
		t.Errorf("a has\n%sb has\n%s", a.authText(), got)
	}
	if roles, err := a.Auth().RolesOf("bob"); err != nil || len(roles) != 0 {
		t.Errorf("bob has %v, %v", roles, err)
	}
	if perms, err := a.Auth().Permissions("app"); err != nil || len(perms) != 0 {
		t.Errorf("app has %v, %v", perms, err)
	}
	a.setUp("-user:bob", "user:bob:3", "grant:bob:admin")
	if roles, _ := a.Auth().RolesOf("bob"); fmt.Sprint(roles) != "[admin]" {
		t.Errorf("a later grant gives %v", roles)
	}
}

// Independent changes of one user in two DCs all survive: a revocation is not undone by a new password.
func TestConcurrentChangesOfOneUserAllCount(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.setUp("user:bob:1", "role:x", "role:y", "role:z", "grant:bob:x", "grant:bob:y")
	ship(t, a, b)
	b.now = a.now.Add(time.Minute)
	a.setUp("-grant:bob:x")
	b.setUp("pass:bob:2", "grant:bob:z")
	ship(t, a, b)
	ship(t, b, a)
	sameData(t, a, b)
	roles, _ := a.Auth().RolesOf("bob")
	hash, _ := a.Auth().Hash("bob")
	if fmt.Sprint(roles) != "[y z]" || string(hash) != "hash of 2" || a.authText() != b.authText() {
		t.Errorf("a has\n%sb has\n%s", a.authText(), b.authText())
	}
	b.setUp("-grant:bob:y")
	a.now = b.now.Add(time.Second)
	a.setUp("-grant:bob:y")
	ship(t, a, b)
	conflicts, total, err := b.Conflicts(10)
	if err != nil || total != 1 || !conflicts[0].System || conflicts[0].Value != nil || conflicts[0].Winner.Origin != "a" {
		t.Errorf("conflicts of the system table: %d, %+v, %v", total, conflicts, err)
	}
}

// Root deleted here and authentication enabled there: nobody could administer it, so it is off.
func TestEnabledWithoutRootIsOff(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.setUp(rooted[:3]...)
	ship(t, a, b)
	b.now = a.now
	a.setUp("-user:root")
	b.setUp("enable")
	ship(t, a, b)
	ship(t, b, a)
	sameData(t, a, b)
	for _, r := range []*replica{a, b} {
		if s := r.Auth(); s.Enabled || !s.Locked() {
			t.Errorf("%s: enabled %t, locked %t", r.cfg.Name, s.Enabled, s.Locked())
		}
		if got := gaugeValue(t, r.metrics.withoutRoot); got != 1 {
			t.Errorf("%s: the metric says %v", r.cfg.Name, got)
		}
	}
	a.setUp("user:root:again", "grant:root:root")
	if s := a.Auth(); !s.Enabled || s.Locked() {
		t.Errorf("with root: enabled %t, locked %t", s.Enabled, s.Locked())
	}
	if got := gaugeValue(t, a.metrics.withoutRoot); got != 0 {
		t.Errorf("with root: the metric says %v", got)
	}
}

func TestConcurrentAuthConverges(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		dcs := []*replica{newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")}
		word := func() string {
			u, r := fmt.Sprintf("u%d", rng.IntN(3)), fmt.Sprintf("r%d", rng.IntN(3))
			switch rng.IntN(10) {
			case 0:
				return "-user:" + u
			case 1:
				return "-role:" + r
			case 2:
				return "pass:" + u + fmt.Sprintf(":%d", rng.IntN(100))
			case 3:
				return "-grant:" + u + ":" + r
			case 4:
				return "-perm:" + r + ":k:"
			case 5:
				return "perm:" + r + ":k:"
			case 6, 7:
				return "user:" + u + ":1"
			case 8:
				return "role:" + r
			}
			return "grant:" + u + ":" + r
		}
		for range 60 {
			x := dcs[rng.IntN(3)]
			x.now = x.now.Add(time.Duration(rng.IntN(5)) * time.Millisecond)
			_ = x.change(word()) // refusals are part of it
			if rng.IntN(3) == 0 {
				x.put(fmt.Sprintf("k%d", rng.IntN(5)), "v")
			}
			if y := dcs[rng.IntN(3)]; y != x && rng.IntN(4) == 0 {
				ship(t, x, y)
			}
		}
		for range 2 {
			for _, x := range dcs {
				for _, y := range dcs {
					if x != y {
						ship(t, x, y)
					}
				}
			}
		}
		sameData(t, dcs...)
		for range 3 {
			for _, x := range dcs {
				x.confirm(dcs...)
			}
		}
		for _, x := range dcs {
			if got, want := x.authText(), dcs[0].authText(); got != want {
				t.Fatalf("seed %d: %s has\n%swant\n%s", seed, x.cfg.Name, got, want)
			}
			for _, e := range x.store.System("") {
				if e.Deleted {
					t.Fatalf("seed %d: the grave of %q stays at %s", seed, e.Name, x.cfg.Name)
				}
			}
			if err := x.store.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSnapshotCarriesUsers(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	b.put("only-b", "1")
	a.setUp("user:bob:1", "-user:bob")
	a.setUp(rooted...)
	write := func(key string) {
		r := a.authItem(&pb.InternalRaftRequest{})
		p, err := a.queue.add(item{kind: kindPut, payload: mustProto(t, &pb.PutRequest{Key: []byte(key), Value: []byte("v")}), auth: r.auth})
		if err != nil {
			t.Fatal(err)
		}
		a.commitQueued()
		if res := <-p.done; res.err != nil {
			t.Fatal(res.err)
		}
	}
	for i := range 20 {
		a.setUp(fmt.Sprintf("user:u%02d:pw", i))
		write(fmt.Sprintf("k%02d", i))
	}
	write(cursorMark + "s") // looks like a place in the system table
	write(cursorMark)
	write("\x00")
	snapshot(t, a, b, 300, nil)
	ship(t, b, a)
	sameData(t, a, b)
	if a.authText() != b.authText() || len(b.Auth().Users()) != 21 {
		t.Errorf("b has\n%swant\n%s", b.authText(), a.authText())
	}
	if got, want := len(b.store.System("")), len(a.store.System("")); got != want {
		t.Errorf("%d entries and graves, want %d", got, want)
	}
	if b.store.Keys() != a.store.Keys() {
		t.Errorf("%d keys, want %d", b.store.Keys(), a.store.Keys())
	}
	revision := b.Auth().Revision
	snapshot(t, a, b, 1<<20, nil)
	if got := b.Auth().Revision; got != revision {
		t.Errorf("a snapshot that changes nothing moves the auth revision from %d to %d", revision, got)
	}
}

func mustProto(t testing.TB, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A chunk with users must not pass for one that an older build reads.
func TestChunkWithUsersIsOfVersion2(t *testing.T) {
	a := newReplica(t, "a", "b")
	a.setUp("user:bob:1")
	chunk := appendSystem(nil, a.store.System(""))
	if _, err := decodeChunk(chunk); err != nil {
		t.Fatal(err)
	}
	if chunk[0] != chunkFieldVersion<<3 || chunk[1] != chunkVersionSystem {
		t.Fatalf("the chunk begins with %x", chunk[:2])
	}
	chunk[1] = chunkVersion
	if _, err := decodeChunk(chunk); !errors.Is(err, ErrMalformed) {
		t.Errorf("as version 1: %v", err)
	}
}

func TestUsersSurviveARestart(t *testing.T) {
	cfg := Config{Name: "a", Peers: []string{"b"}, Dir: t.TempDir()}
	r := openReplica(t, cfg)
	r.LeaderChanged(1, 1, true)
	r.commitQueued()
	r.setUp(rooted...)
	r.setUp("user:ann:pw", "-user:ann")
	want, revision, secret := r.authText(), r.Auth().Revision, string(r.Auth().Secret)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	again := openReplica(t, cfg)
	if s := again.Auth(); again.authText() != want || s.Revision != revision || string(s.Secret) != secret {
		t.Errorf("opened again: revision %d, want %d\n%swant\n%s", s.Revision, revision, again.authText(), want)
	}
}

// What a user may do is judged when the write is applied: by users and roles as they are then.
func TestWritesUnderOtherUsersAreRefused(t *testing.T) {
	r := newReplica(t, "a", "b")
	put := mustProto(t, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	withID, err := item{kind: kindPut, payload: put}.withID("id")
	if err != nil {
		t.Fatal(err)
	}
	writes := map[string]item{
		"put": {kind: kindPut, payload: put}, "with id": withID,
		"delete":  {kind: kindDelete, payload: mustProto(t, &pb.DeleteRangeRequest{Key: []byte("k")})},
		"txn":     {kind: kindTxn, payload: mustProto(t, &pb.TxnRequest{})},
		"compact": {kind: kindCompact, payload: mustProto(t, &pb.CompactionRequest{Revision: 1})},
		"auth":    {kind: kindAuth, payload: encodeAuth(mustProto(t, &pb.InternalRaftRequest{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: "r"}}), nil)},
	}
	r.setUp(rooted[:3]...)
	// The enabling and a write of before it are in one entry.
	enable, err := r.queue.add(r.authItem(&pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}}))
	if err != nil {
		t.Fatal(err)
	}
	behind, err := r.queue.add(item{kind: kindPut, payload: put})
	if err != nil {
		t.Fatal(err)
	}
	r.commitQueued()
	if err := (<-enable.done).err; err != nil {
		t.Fatal(err)
	}
	if err := (<-behind.done).err; !errors.Is(err, auth.ErrOldRevision) {
		t.Errorf("a write behind the enabling: %v", err)
	}
	now := r.Auth().Revision
	for name, it := range writes {
		for _, revision := range []uint64{0, now - 1, now + 1} {
			it.auth = revision
			before := r.store.Revision()
			p, err := r.queue.add(it)
			if err != nil {
				t.Fatal(err)
			}
			r.commitQueued()
			if err := (<-p.done).err; !errors.Is(err, auth.ErrOldRevision) || r.store.Revision() != before {
				t.Errorf("%s under revision %d: %v, revision %d became %d", name, revision, err, before, r.store.Revision())
			}
		}
	}
	it := writes["with id"]
	it.auth = now
	p, err := r.queue.add(it)
	if err != nil {
		t.Fatal(err)
	}
	r.commitQueued()
	if res := <-p.done; res.err != nil || res.commit.Repeated {
		t.Errorf("the refusal was remembered: %+v", res)
	}
	r.setUp("disable")
	r.put("k", "open again")
}

func TestUnknownAuthRequestStopsTheReplica(t *testing.T) {
	r := newReplica(t, "a", "b")
	payload := encodeAuth(mustProto(t, &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 1}}), nil)
	e := entry{proposer: 1, first: 1, items: []item{{kind: kindAuth, payload: payload}}}
	err := r.Apply([]consensus.Entry{{Index: r.index + 1, Term: 1, Data: e.marshal()}})
	if !errors.Is(err, auth.ErrMalformed) {
		t.Errorf("applied with %v", err)
	}
}

func TestSystemTableIsBounded(t *testing.T) {
	r := newReplica(t, "a", "b")
	r.setUp("role:r")
	b, err := r.store.Begin()
	if err != nil {
		t.Fatal(err)
	}
	a := applier{dc: r.DC, batch: b}
	big := make([]byte, maxSystemBytes)
	if err := a.roomFor([]auth.Edit{{Name: "auth/user/x", Value: big}}); !errors.Is(err, auth.ErrFull) {
		t.Errorf("too many bytes: %v", err)
	}
	if err := a.roomFor(make([]auth.Edit, maxSystemEntries)); !errors.Is(err, auth.ErrFull) {
		t.Errorf("too many entries: %v", err)
	}
	if err := a.roomFor([]auth.Edit{{Name: "auth/role/r", Delete: true}}); err != nil {
		t.Errorf("a deletion: %v", err)
	}
	b.Commit(r.store.Applied())
}

// What leaves the datacenter is the entries, and not the secret of its tokens.
func TestSecretStaysHere(t *testing.T) {
	a := newReplica(t, "a", "b")
	a.setUp("user:root:secret")
	frames, err := a.Frames("a", 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := event.Open(frames[len(frames)-1].Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Txns[0].Ops); n != 2 {
		t.Errorf("%d operations", n)
	}
	if s := a.Auth(); strings.Contains(string(frames[len(frames)-1].Bytes), string(s.Secret)) {
		t.Error("the secret of the tokens leaves the datacenter")
	}
}

func gaugeValue(t *testing.T, g prometheus.Gauge) float64 {
	t.Helper()
	var out dto.Metric
	if err := g.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Gauge.GetValue()
}
