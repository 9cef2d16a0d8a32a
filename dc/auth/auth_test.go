package auth

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
)

// book is a system table: Evaluate's edits are made in it, each request one stamp later.
type book struct {
	t       testing.TB
	entries map[string]Entry
	stamp   event.Stamp
	rev     uint64
}

func newBook(t testing.TB) *book { return &book{t: t, entries: map[string]Entry{}, rev: 1} }

func (b *book) Names(prefix string) (names []string) {
	for name := range b.entries {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (b *book) Has(name string) bool { _, ok := b.entries[name]; return ok }

func (b *book) state() *State {
	b.t.Helper()
	var all []Entry
	for _, e := range b.entries {
		all = append(all, e)
	}
	s := NewState(all, b.rev, nil)
	if bad := s.Malformed(); len(bad) > 0 {
		b.t.Fatal(bad)
	}
	return s
}

func (b *book) do(r *pb.InternalRaftRequest) error {
	b.t.Helper()
	c, err := Evaluate(b.state(), b, r)
	if err != nil {
		return err
	}
	b.stamp++
	for _, e := range c.Edits {
		if delete(b.entries, e.Name); !e.Delete {
			b.entries[e.Name] = Entry{Name: e.Name, Value: e.Value, Stamp: b.stamp, Origin: "a"}
		}
	}
	if c.Bumps {
		b.rev++
	}
	return nil
}

func enable() *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}}
}
func disable() *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthDisable: &pb.AuthDisableRequest{}}
}
func addUser(name string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: name, HashedPassword: "aGFzaA=="}}
}
func addUserWithout(name string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: name, Options: &authpb.UserAddOptions{NoPassword: true}}}
}
func delUser(name string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthUserDelete: &pb.AuthUserDeleteRequest{Name: name}}
}
func passwd(name, hash string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthUserChangePassword: &pb.AuthUserChangePasswordRequest{Name: name, HashedPassword: hash}}
}
func addRole(name string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: name}}
}
func delRole(name string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthRoleDelete: &pb.AuthRoleDeleteRequest{Role: name}}
}
func grant(user, role string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: user, Role: role}}
}
func revoke(user, role string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthUserRevokeRole: &pb.AuthUserRevokeRoleRequest{Name: user, Role: role}}
}
func permit(role string, t authpb.Permission_Type, key, end string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: role,
		Perm: &authpb.Permission{PermType: t, Key: []byte(key), RangeEnd: []byte(end)}}}
}
func forbid(role, key, end string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthRoleRevokePermission: &pb.AuthRoleRevokePermissionRequest{Role: role, Key: []byte(key), RangeEnd: []byte(end)}}
}

const (
	reading = authpb.Permission_READ
	writing = authpb.Permission_WRITE
	both    = authpb.Permission_READWRITE
)

// The answers and the revisions are those of etcd's auth store.
func TestRequests(t *testing.T) {
	b := newBook(t)
	for i, step := range []struct {
		do   *pb.InternalRaftRequest
		want error
		rev  uint64
	}{
		{enable(), ErrRootUserNotExist, 1},
		{disable(), nil, 1},
		{addUser(""), ErrUserEmpty, 1},
		{addUser("root"), nil, 2},
		{addUser("root"), ErrUserAlreadyExist, 2},
		{enable(), ErrRootRoleNotExist, 2},
		{grant("root", "root"), nil, 3}, // the role itself need not exist
		{grant("root", "root"), nil, 3},
		{enable(), nil, 3},
		{enable(), nil, 3},
		{delUser("root"), ErrInvalidMgmt, 3},
		{revoke("root", "root"), ErrInvalidMgmt, 3},
		{delRole("root"), ErrInvalidMgmt, 3},
		{delUser("ann"), ErrUserNotFound, 3},
		{addUserWithout("cert"), nil, 4},
		{passwd("cert", "eA=="), nil, 5},
		{passwd("ann", "eA=="), ErrUserNotFound, 5},
		{addUser("ann"), nil, 6},
		{passwd("ann", "not base64!"), ErrNoPasswordUser, 6},
		{passwd("ann", "eA=="), nil, 7},
		{grant("ann", "app"), ErrRoleNotFound, 7},
		{grant("bob", "app"), ErrUserNotFound, 7},
		{revoke("ann", "app"), ErrRoleNotGranted, 7},
		{revoke("bob", "app"), ErrUserNotFound, 7},
		{addRole(""), ErrRoleEmpty, 7},
		{addRole("app"), nil, 8},
		{addRole("app"), ErrRoleAlreadyExist, 8},
		{grant("ann", "app"), nil, 9},
		{permit("none", both, "k", ""), ErrRoleNotFound, 9},
		{permit("app", both, "", "z"), ErrInvalidMgmt, 9},
		{permit("app", both, "b", "a"), ErrInvalidMgmt, 9},
		{permit("none", both, "b", "a"), ErrInvalidMgmt, 9},
		{&pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "app"}}, ErrPermissionNotGiven, 9},
		{permit("app", both, "k", ""), nil, 10},
		{permit("app", reading, "k", ""), nil, 11},
		{forbid("app", "k", "z"), ErrPermissionNotGranted, 11},
		{forbid("none", "k", ""), ErrRoleNotFound, 11},
		{forbid("app", "k", ""), nil, 12},
		{delRole("none"), ErrRoleNotFound, 12},
		{delRole("app"), nil, 13},
		{revoke("ann", "app"), ErrRoleNotGranted, 13},
		{disable(), nil, 14},
		{delUser("root"), nil, 15},
		{&pb.InternalRaftRequest{}, ErrMalformed, 15},
	} {
		if err := b.do(step.do); !errors.Is(err, step.want) || b.rev != step.rev {
			t.Errorf("step %d, %v: %v at %d, want %v at %d", i, step.do, err, b.rev, step.want, step.rev)
		}
	}
}

func TestMay(t *testing.T) {
	b := newBook(t)
	for _, r := range []*pb.InternalRaftRequest{
		addUser("root"), grant("root", "root"), addUser("ann"), addUser("bare"), addRole("one"), addRole("two"),
		permit("one", reading, "a", "c"), permit("one", writing, "w", ""), permit("two", reading, "c", "f"),
		permit("two", both, "x", "\x00"), grant("ann", "one"), grant("ann", "two"),
	} {
		if err := b.do(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.state().May("", true, []byte("a"), nil); err != nil {
		t.Errorf("while it is off: %v", err)
	}
	if err := b.do(enable()); err != nil {
		t.Fatal(err)
	}
	s := b.state()
	for _, c := range []struct {
		user     string
		write    bool
		key, end string
		want     error
	}{
		{"", false, "a", "", ErrUserEmpty},
		{"nobody", false, "a", "", ErrPermissionDenied},
		{"bare", false, "a", "", ErrPermissionDenied},
		{"root", true, "a", "\x00", nil},
		{"root", true, "\x00", "\x00", nil},
		{"ann", false, "a", "", nil},
		{"ann", false, "b", "e", nil}, // over both roles
		{"ann", false, "a", "f", nil},
		{"ann", false, "a", "g", ErrPermissionDenied},
		{"ann", false, "f", "", ErrPermissionDenied},
		{"ann", false, "A", "b", ErrPermissionDenied},
		{"ann", true, "a", "", ErrPermissionDenied},
		{"ann", true, "w", "", nil},
		{"ann", false, "w", "", ErrPermissionDenied},
		{"ann", true, "w", "w\x00", nil}, // the same as the key
		{"ann", true, "w", "w\x00\x00", ErrPermissionDenied},
		{"ann", true, "x", "\x00", nil},
		{"ann", true, "y", "\x00", nil},
		{"ann", true, "w", "\x00", ErrPermissionDenied},
		{"ann", true, "zzz", "zzzz", nil},
	} {
		if err := s.May(c.user, c.write, []byte(c.key), []byte(c.end)); !errors.Is(err, c.want) {
			t.Errorf("%s, write %t, %q to %q: %v, want %v", c.user, c.write, c.key, c.end, err, c.want)
		}
	}
	for user, want := range map[string]error{"": ErrUserEmpty, "nobody": ErrUserNotFound, "ann": ErrPermissionDenied, "root": nil} {
		if err := s.MayAdminister(user); !errors.Is(err, want) {
			t.Errorf("%q as administrator: %v, want %v", user, err, want)
		}
	}
}

// Names and keys may hold any byte; none of them may be taken for another's.
func TestNamesStayApart(t *testing.T) {
	b := newBook(t)
	odd := []string{"a", "a/b", "a\x00b", "/", "\x01a", "ä", strings.Repeat("n", 300)}
	for _, n := range odd {
		for _, r := range []*pb.InternalRaftRequest{addUser(n), addRole(n), permit(n, both, n, n+"\xff")} {
			if err := b.do(r); err != nil {
				t.Fatalf("%q: %v", n, err)
			}
		}
	}
	for i, n := range odd {
		if err := b.do(grant(n, odd[(i+1)%len(odd)])); err != nil {
			t.Fatal(err)
		}
	}
	s := b.state()
	for i, n := range odd {
		roles, err := s.RolesOf(n)
		if err != nil || len(roles) != 1 || roles[0] != odd[(i+1)%len(odd)] {
			t.Errorf("%q has %q, %v", n, roles, err)
		}
		perms, err := s.Permissions(n)
		if err != nil || len(perms) != 1 || string(perms[0].Key) != n || string(perms[0].RangeEnd) != n+"\xff" {
			t.Errorf("%q has %v, %v", n, perms, err)
		}
	}
}

func TestGenerations(t *testing.T) {
	b := newBook(t)
	for _, r := range []*pb.InternalRaftRequest{addUser("root"), grant("root", "root"), addUser("ann"), addRole("r"), enable()} {
		if err := b.do(r); err != nil {
			t.Fatal(err)
		}
	}
	last, ok := b.state().Generation("ann")
	if !ok {
		t.Fatal("ann has none")
	}
	for i, step := range []struct {
		do    *pb.InternalRaftRequest
		moves bool
	}{
		{grant("ann", "r"), false}, {addUser("x"), false}, {passwd("root", "eA=="), false},
		{passwd("ann", "eA=="), true}, {disable(), true}, {enable(), true},
	} {
		if err := b.do(step.do); err != nil {
			t.Fatal(err)
		}
		now, _ := b.state().Generation("ann")
		if (now != last) != step.moves {
			t.Errorf("step %d moves it: %t, want %t", i, now != last, step.moves)
		}
		last = now
	}
	if _, ok := b.state().Generation("nobody"); ok {
		t.Error("nobody has one")
	}
}

// An entry that can't be read permits nothing, is named, and takes nothing from the others.
func TestUnreadableEntries(t *testing.T) {
	good := []Entry{
		{Name: nameEnabled}, {Name: userName(root)}, {Name: grantName(root, root)}, {Name: userName("u")}, {Name: roleName("r")},
		{Name: roleName("s")}, {Name: grantName("u", "r")}, {Name: permissionName("r", []byte("k"), nil), Value: []byte{0}},
	}
	for _, e := range []Entry{
		{Name: "auth/other"}, {Name: prefixGrant}, {Name: prefixGrant + "\xff"}, {Name: prefixPermission + "\x01a"},
		{Name: permissionName("r", []byte("l"), nil), Value: []byte{3}}, {Name: permissionName("r", []byte("l"), nil)},
		{Name: prefixGrant + "\x81\x00us"}, {Name: permissionName("r", []byte("l"), []byte("a")), Value: []byte{2}},
		{Name: permissionName("r", nil, []byte("z")), Value: []byte{2}},
	} {
		s := NewState(append([]Entry{e}, good...), 1, nil)
		if bad := s.Malformed(); len(bad) != 1 || !errors.Is(bad[0], ErrMalformed) {
			t.Errorf("%q = %x: %v", e.Name, e.Value, bad)
		}
		if roles, err := s.RolesOf("u"); err != nil || !slices.Equal(roles, []string{"r"}) {
			t.Errorf("%q = %x: roles %v, %v", e.Name, e.Value, roles, err)
		}
		if !s.Enabled || s.May("u", false, []byte("k"), nil) != nil || s.May("u", true, []byte("k"), nil) == nil || s.May("u", false, []byte("l"), nil) == nil {
			t.Errorf("%q = %x: u may other than read k", e.Name, e.Value)
		}
	}
}

// Single keys are searched for in merged ranges; the tree must agree.
func TestMergedRangesAgreeWithTheTree(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		key := func() string {
			return string("abcdef"[rng.IntN(6)]) + strings.Repeat("\x00", rng.IntN(2)) + []string{"", "b", "\xff"}[rng.IntN(3)]
		}
		var perms []*authpb.Permission
		for range rng.IntN(6) {
			a, z := key(), []string{"", "\x00", key()}[rng.IntN(3)]
			if validRange([]byte(a), []byte(z)) {
				perms = append(perms, &authpb.Permission{Key: []byte(a), RangeEnd: []byte(z)})
			}
		}
		r := newRanges(perms)
		for range 30 {
			k := []byte(key())
			if got, want := r.hold(k, nil), r.tree.Intersects(interval(k, nil)); got != want {
				t.Fatalf("seed %d: %q in %v: %t, the tree says %t", seed, k, perms, got, want)
			}
		}
	}
}

func BenchmarkMay(b *testing.B) {
	k := newBook(b)
	k.do(addUser("root"))
	k.do(grant("root", "root"))
	k.do(addUser("ann"))
	k.do(addRole("r"))
	k.do(grant("ann", "r"))
	for i := range 100 {
		k.do(permit("r", both, fmt.Sprintf("/app/%03d/", i), fmt.Sprintf("/app/%03d0", i)))
	}
	k.do(enable())
	s := k.state()
	key := []byte("/app/042/key")
	b.ReportAllocs()
	for b.Loop() {
		if err := s.May("ann", true, key, nil); err != nil {
			b.Fatal(err)
		}
	}
}
