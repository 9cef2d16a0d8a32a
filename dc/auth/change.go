package auth

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Edit sets an entry of the system table, or removes it.
type Edit struct {
	Name   string
	Value  []byte
	Delete bool
}

// Change is what a request does to the system table.
type Change struct {
	Edits    []Edit
	Bumps    bool // the auth revision grows; etcd's does not when authentication is enabled
	Response proto.Message
	What     string // for the log: no secrets
}

func (c *Change) put(name string, value []byte) {
	c.Edits = append(c.Edits, Edit{Name: name, Value: value})
}
func (c *Change) drop(name string) { c.Edits = append(c.Edits, Edit{Name: name, Delete: true}) }

// Table is the present entries; a change takes away with a user or role all that belonged to it, also what
// [NewState] passes over as too old.
type Table interface {
	// Names lists the live entries whose names begin with a prefix, in order.
	Names(prefix string) []string
	Has(name string) bool
}

// Evaluate says what a request changes. The password of a user comes as a hash, base64 of bcrypt's. An error
// that wraps [ErrMalformed] is this build's; every other one is the answer.
func Evaluate(s *State, t Table, r *pb.InternalRaftRequest) (Change, error) {
	switch {
	case r.AuthEnable != nil:
		return s.enable()
	case r.AuthDisable != nil:
		return s.disable()
	case r.AuthUserAdd != nil:
		return s.addUser(t, r.AuthUserAdd)
	case r.AuthUserDelete != nil:
		return s.deleteUser(t, r.AuthUserDelete.Name)
	case r.AuthUserChangePassword != nil:
		return s.changePassword(r.AuthUserChangePassword)
	case r.AuthUserGrantRole != nil:
		return s.grantRole(r.AuthUserGrantRole)
	case r.AuthUserRevokeRole != nil:
		return s.revokeRole(r.AuthUserRevokeRole)
	case r.AuthRoleAdd != nil:
		return s.addRole(t, r.AuthRoleAdd.Name)
	case r.AuthRoleDelete != nil:
		return s.deleteRole(t, r.AuthRoleDelete.Role)
	case r.AuthRoleGrantPermission != nil:
		return s.grantPermission(r.AuthRoleGrantPermission)
	case r.AuthRoleRevokePermission != nil:
		return s.revokePermission(r.AuthRoleRevokePermission)
	}
	return Change{}, fmt.Errorf("%w: a request that this build does not know", ErrMalformed)
}

func (s *State) enable() (Change, error) {
	c := Change{Response: &pb.AuthEnableResponse{}, What: "authentication enabled"}
	if s.Enabled {
		return c, nil
	}
	u := s.users[root]
	switch {
	case u == nil:
		return Change{}, ErrRootUserNotExist
	case !u.admin:
		return Change{}, ErrRootRoleNotExist
	}
	c.put(nameEnabled, nil)
	return c, nil
}

func (s *State) disable() (Change, error) {
	c := Change{Response: &pb.AuthDisableResponse{}, What: "authentication disabled"}
	if s.wanted {
		c.drop(nameEnabled)
		c.Bumps = true
	}
	return c, nil
}

func (s *State) addUser(t Table, r *pb.AuthUserAddRequest) (Change, error) {
	c := Change{Response: &pb.AuthUserAddResponse{}, Bumps: true, What: fmt.Sprintf("user %q added", r.Name)}
	if r.Name == "" {
		return c, ErrUserEmpty
	}
	if err := checkName(r.Name); err != nil {
		return c, err
	}
	if s.users[r.Name] != nil {
		return c, ErrUserAlreadyExist
	}
	c.purge(t, grantsOf(r.Name))
	if r.Options.GetNoPassword() {
		if t.Has(passwordName(r.Name)) {
			c.drop(passwordName(r.Name))
		}
		c.put(userName(r.Name), []byte{noPassword})
		return c, nil
	}
	hash, err := base64.StdEncoding.DecodeString(r.HashedPassword)
	if err != nil {
		return c, ErrNoPasswordUser
	}
	c.put(userName(r.Name), nil)
	c.put(passwordName(r.Name), hash)
	return c, nil
}

func checkName(name string) error {
	if len(name) > MaxNameBytes {
		return fmt.Errorf("%w: %q... has %d bytes, at most %d are possible", ErrLongName, name[:20], len(name), MaxNameBytes)
	}
	return nil
}

func (s *State) deleteUser(t Table, name string) (Change, error) {
	c := Change{Response: &pb.AuthUserDeleteResponse{}, Bumps: true, What: fmt.Sprintf("user %q deleted", name)}
	if s.Enabled && name == root {
		return c, ErrInvalidMgmt
	}
	if s.users[name] == nil {
		return c, ErrUserNotFound
	}
	c.drop(userName(name))
	if t.Has(passwordName(name)) {
		c.drop(passwordName(name))
	}
	c.purge(t, grantsOf(name))
	return c, nil
}

// purge drops the entries with a prefix.
func (c *Change) purge(t Table, prefix string) {
	for _, name := range t.Names(prefix) {
		c.drop(name)
	}
}

func (s *State) changePassword(r *pb.AuthUserChangePasswordRequest) (Change, error) {
	c := Change{Response: &pb.AuthUserChangePasswordResponse{}, Bumps: true, What: fmt.Sprintf("password of user %q changed", r.Name)}
	u := s.users[r.Name]
	if u == nil {
		return c, ErrUserNotFound
	}
	if u.noPassword {
		return c, nil // as in etcd: it is not refused, and there is still none
	}
	hash, err := base64.StdEncoding.DecodeString(r.HashedPassword)
	if err != nil {
		return c, ErrNoPasswordUser
	}
	c.put(passwordName(r.Name), hash)
	return c, nil
}

func (s *State) grantRole(r *pb.AuthUserGrantRoleRequest) (Change, error) {
	c := Change{Response: &pb.AuthUserGrantRoleResponse{}, What: fmt.Sprintf("role %q granted to user %q", r.Role, r.User)}
	u := s.users[r.User]
	switch {
	case u == nil:
		return c, ErrUserNotFound
	case r.Role != root && s.roles[r.Role] == nil:
		return c, ErrRoleNotFound
	case slices.Contains(u.roles, r.Role):
		return c, nil
	}
	c.put(grantName(r.User, r.Role), nil)
	c.Bumps = true
	return c, nil
}

func (s *State) revokeRole(r *pb.AuthUserRevokeRoleRequest) (Change, error) {
	c := Change{Response: &pb.AuthUserRevokeRoleResponse{}, Bumps: true, What: fmt.Sprintf("role %q revoked from user %q", r.Role, r.Name)}
	if s.Enabled && r.Name == root && r.Role == root {
		return c, ErrInvalidMgmt
	}
	u := s.users[r.Name]
	switch {
	case u == nil:
		return c, ErrUserNotFound
	case !slices.Contains(u.roles, r.Role):
		return c, ErrRoleNotGranted
	}
	c.drop(grantName(r.Name, r.Role))
	return c, nil
}

func (s *State) addRole(t Table, name string) (Change, error) {
	c := Change{Response: &pb.AuthRoleAddResponse{}, Bumps: true, What: fmt.Sprintf("role %q added", name)}
	if name == "" {
		return c, ErrRoleEmpty
	}
	if err := checkName(name); err != nil {
		return c, err
	}
	if s.roles[name] != nil {
		return c, ErrRoleAlreadyExist
	}
	c.purge(t, permissionsOf(name))
	c.put(roleName(name), nil)
	return c, nil
}

func (s *State) deleteRole(t Table, name string) (Change, error) {
	c := Change{Response: &pb.AuthRoleDeleteResponse{}, Bumps: true, What: fmt.Sprintf("role %q deleted", name)}
	if s.Enabled && name == root {
		return c, ErrInvalidMgmt
	}
	if s.roles[name] == nil {
		return c, ErrRoleNotFound
	}
	c.drop(roleName(name))
	c.purge(t, permissionsOf(name))
	for _, user := range s.Users() {
		if grant := grantName(user, name); t.Has(grant) {
			c.drop(grant)
		}
	}
	return c, nil
}

func (s *State) grantPermission(r *pb.AuthRoleGrantPermissionRequest) (Change, error) {
	c := Change{Response: &pb.AuthRoleGrantPermissionResponse{}, Bumps: true}
	if r.Perm == nil {
		return c, ErrPermissionNotGiven
	}
	p := r.Perm
	c.What = fmt.Sprintf("%s of %q to %q granted to role %q", p.PermType, p.Key, p.RangeEnd, r.Name)
	switch {
	case !validRange(p.Key, p.RangeEnd):
		return c, ErrInvalidMgmt
	case s.roles[r.Name] == nil:
		return c, ErrRoleNotFound
	case p.PermType < authpb.Permission_READ || p.PermType > authpb.Permission_READWRITE:
		return c, ErrInvalidMgmt
	}
	c.put(permissionName(r.Name, p.Key, p.RangeEnd), permissionValue(p.PermType))
	return c, nil
}

func (s *State) revokePermission(r *pb.AuthRoleRevokePermissionRequest) (Change, error) {
	c := Change{Response: &pb.AuthRoleRevokePermissionResponse{}, Bumps: true,
		What: fmt.Sprintf("permission of %q to %q revoked from role %q", r.Key, r.RangeEnd, r.Role)}
	found := s.roles[r.Role]
	if found == nil {
		return c, ErrRoleNotFound
	}
	if !slices.ContainsFunc(found.permissions, func(p *authpb.Permission) bool {
		return bytes.Equal(p.Key, r.Key) && bytes.Equal(p.RangeEnd, r.RangeEnd)
	}) {
		return c, ErrPermissionNotGranted
	}
	c.drop(permissionName(r.Role, r.Key, r.RangeEnd))
	return c, nil
}
