package auth

import (
	"bytes"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
)

// FuzzEntries: any entries are a state that answers every question. Each line of the input is a name
// and, behind a '=', a value.
func FuzzEntries(f *testing.F) {
	f.Add([]byte("auth/enabled\nauth/user/root\nauth/role/r\nauth/grant/\x04rootroot\nauth/grant/\x04rootr\nauth/permission/\x01r\x01az=\x02"))
	f.Add([]byte("auth/user/u=\x01\nauth/password/u=hash\nauth/permission/\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01r="))
	f.Add([]byte("auth/permission/\x01r\x00=\x03\nauth/role/r\nother"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var entries []Entry
		for i, line := range bytes.Split(b, []byte("\n")) {
			name, value, _ := bytes.Cut(line, []byte("="))
			entries = append(entries, Entry{Name: string(name), Value: value, Stamp: event.Stamp(i), Origin: "a"})
		}
		s := NewState(entries, 1, nil)
		for _, err := range s.Malformed() {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v does not wrap ErrMalformed", err)
			}
		}
		for _, role := range s.Roles() {
			if _, err := s.Permissions(role); err != nil {
				t.Fatalf("role %q: %v", role, err)
			}
		}
		for _, user := range s.Users() {
			if _, err := s.RolesOf(user); err != nil {
				t.Fatalf("user %q: %v", user, err)
			}
			_, _ = s.Hash(user)
			_ = s.May(user, true, b, nil)
			_ = s.May(user, false, []byte("a"), b)
		}
	})
}

// nobody is a table without entries.
type nobody struct{}

func (nobody) Names(string) []string { return nil }
func (nobody) Has(string) bool       { return false }

// FuzzEvaluate: what a request changes can always be read back, or the next state of every replica is lost.
func FuzzEvaluate(f *testing.F) {
	for _, r := range []*pb.InternalRaftRequest{
		{AuthUserAdd: &pb.AuthUserAddRequest{Name: "u", HashedPassword: "YQ=="}},
		{AuthUserAdd: &pb.AuthUserAddRequest{Name: "u", Options: &authpb.UserAddOptions{NoPassword: true}}},
		{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: "x\x00"}},
		{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: "root", Role: "r"}},
		{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: []byte("k"), RangeEnd: []byte{0}, PermType: 2}}},
		{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: []byte("k"), PermType: -256}}},
		{AuthEnable: &pb.AuthEnableRequest{}},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	before := []Entry{{Name: userName(root)}, {Name: roleName("r")}, {Name: grantName(root, root)}}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &pb.InternalRaftRequest{}
		if proto.Unmarshal(b, r) != nil {
			return
		}
		c, err := Evaluate(NewState(before, 1, nil), nobody{}, r)
		if err != nil {
			return
		}
		entries := append([]Entry(nil), before...)
		for _, e := range c.Edits {
			if !e.Delete {
				entries = append(entries, Entry{Name: e.Name, Value: e.Value, Stamp: 1})
			}
		}
		if bad := NewState(entries, 2, nil).Malformed(); len(bad) > 0 {
			t.Fatalf("%s, and then: %v", c.What, bad)
		}
	})
}
