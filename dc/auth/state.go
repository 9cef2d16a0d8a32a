package auth

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/etcd/api/v3/authpb"
)

// root is the user that must exist, and the role that may do everything.
const root = "root"

// State is all users and roles at one moment. It is never changed.
type State struct {
	Enabled  bool
	Revision uint64 // of this datacenter's: grows with each change, its own and others'
	// Secret signs the tokens of this datacenter; nil until its leader has made one.
	Secret []byte

	wanted  bool // there is an entry that enables authentication
	enabled birth
	users   map[string]*user
	roles   map[string]*role

	malformed []error // one for each entry that could not be read
}

type user struct {
	name       string
	born       birth
	noPassword bool
	hash       []byte // bcrypt; empty when there is none
	hashed     birth
	roles      []string // ascending
	admin      bool     // has the root role

	once  sync.Once
	spans *spans // guarded by once
}

type role struct {
	born        birth
	permissions []*authpb.Permission // ascending by key, then end
}

// NewState reads the live entries whose names begin with [Prefix], in any order.
//
// What belongs to a user or role counts when it is not older than that: so the state is the one that all changes
// would have made in the order of their stamps, though each entry is merged by itself. A grant to a user who was
// deleted meanwhile, for instance, does not come back with another user of that name.
//
// An entry that can't be read permits nothing, and [State.Malformed] names it. Entries come from other datacenters
// too: none of them may stop this one.
func NewState(entries []Entry, revision uint64, secret []byte) *State {
	s := &State{Revision: revision, Secret: secret, users: map[string]*user{}, roles: map[string]*role{}}
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Name == nameEnabled:
			s.wanted, s.enabled = true, e.birth()
		case strings.HasPrefix(e.Name, prefixUser):
			name := strings.TrimPrefix(e.Name, prefixUser)
			s.users[name] = &user{name: name, born: e.birth(), noPassword: len(e.Value) > 0 && e.Value[0] == noPassword}
		case strings.HasPrefix(e.Name, prefixRole):
			s.roles[strings.TrimPrefix(e.Name, prefixRole)] = &role{born: e.birth()}
		}
	}
	for i := range entries {
		if err := s.attach(&entries[i]); err != nil {
			s.malformed = append(s.malformed, err)
		}
	}
	for _, u := range s.users {
		slices.Sort(u.roles)
		u.admin = slices.Contains(u.roles, root)
	}
	s.Enabled = s.wanted && s.HasRole(root, root)
	for _, r := range s.roles {
		slices.SortFunc(r.permissions, func(a, b *authpb.Permission) int {
			return cmp.Or(bytes.Compare(a.Key, b.Key), bytes.Compare(a.RangeEnd, b.RangeEnd))
		})
	}
	return s
}

// Malformed tells of each entry that could not be read and is passed over, in the order of the entries.
func (s *State) Malformed() []error { return s.malformed }

// attach gives the entry to its user or role.
func (s *State) attach(e *Entry) error {
	switch {
	case strings.HasPrefix(e.Name, prefixPassword):
		if u := s.users[strings.TrimPrefix(e.Name, prefixPassword)]; u != nil && !e.birth().before(u.born) && !u.noPassword {
			u.hash, u.hashed = e.Value, e.birth()
		}
	case strings.HasPrefix(e.Name, prefixGrant):
		name, to, err := cut(strings.TrimPrefix(e.Name, prefixGrant))
		if err != nil {
			return err
		}
		u, r := s.users[name], s.roles[to]
		if u == nil || e.birth().before(u.born) || to != root && (r == nil || e.birth().before(r.born)) {
			return nil
		}
		u.roles = append(u.roles, to)
	case strings.HasPrefix(e.Name, prefixPermission):
		name, p, err := parsePermission(e.Name, e.Value)
		if err != nil {
			return err
		}
		if r := s.roles[name]; r != nil && !e.birth().before(r.born) {
			r.permissions = append(r.permissions, p)
		}
	case e.Name != nameEnabled && !strings.HasPrefix(e.Name, prefixUser) && !strings.HasPrefix(e.Name, prefixRole):
		return fmt.Errorf("%w: entry %.200q", ErrMalformed, e.Name)
	}
	return nil
}

// Locked says that authentication was enabled in one datacenter while the root user went in another, and is
// therefore off: nobody could administer it. It is on again as soon as root has its role back.
func (s *State) Locked() bool { return s.wanted && !s.Enabled }

// Users lists the names of all users, ascending.
func (s *State) Users() []string { return slices.Sorted(maps.Keys(s.users)) }

// Roles lists the names of all roles, ascending.
func (s *State) Roles() []string { return slices.Sorted(maps.Keys(s.roles)) }

// RolesOf lists the roles of a user, ascending.
func (s *State) RolesOf(name string) ([]string, error) {
	u := s.users[name]
	if u == nil {
		return nil, ErrUserNotFound
	}
	return slices.Clone(u.roles), nil
}

// Permissions lists the permissions of a role. They must not be changed.
func (s *State) Permissions(name string) ([]*authpb.Permission, error) {
	r := s.roles[name]
	switch {
	case r == nil:
		return nil, ErrRoleNotFound
	case name == root:
		return []*authpb.Permission{{PermType: authpb.Permission_READWRITE, Key: []byte{}, RangeEnd: []byte{0}}}, nil
	}
	return slices.Clone(r.permissions), nil
}

// HasRole says whether a user has a role.
func (s *State) HasRole(name, role string) bool {
	u := s.users[name]
	return u != nil && slices.Contains(u.roles, role)
}

// Hash is the bcrypt hash of a user's password; [ErrAuthFailed] when there is no such user,
// [ErrNoPasswordUser] when the user has none.
func (s *State) Hash(name string) ([]byte, error) {
	u := s.users[name]
	switch {
	case u == nil:
		return nil, ErrAuthFailed
	case u.noPassword:
		return nil, ErrNoPasswordUser
	}
	return u.hash, nil
}

// Generation is another number whenever what a user's tokens rest on has changed: the user was made anew, has
// another password, or authentication was turned off and on. ok is false when there is no such user.
func (s *State) Generation(name string) (generation uint64, ok bool) {
	u := s.users[name]
	if u == nil {
		return 0, false
	}
	var b []byte
	for _, x := range []birth{s.enabled, u.born, u.hashed} {
		b = binary.BigEndian.AppendUint64(b, uint64(x.stamp))
		b = append(b, measured(x.origin)...)
	}
	return xxhash.Sum64(b), true
}
