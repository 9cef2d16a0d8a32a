package auth

import (
	"bytes"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/pkg/v3/adt"
)

// spans are the ranges of all roles of a user. etcd's interval tree makes the answers for odd ranges etcd's too.
type spans struct{ read, write adt.IntervalTree }

func (s *State) spansOf(u *user) *spans {
	u.once.Do(func() {
		x := &spans{read: adt.NewIntervalTree(), write: adt.NewIntervalTree()}
		for _, name := range u.roles {
			r := s.roles[name]
			if r == nil {
				continue // root, which needs none
			}
			for _, p := range r.permissions {
				i := interval(p.Key, p.RangeEnd)
				if p.PermType != authpb.Permission_WRITE {
					x.read.Insert(i, struct{}{})
				}
				if p.PermType != authpb.Permission_READ {
					x.write.Insert(i, struct{}{})
				}
			}
		}
		u.spans = x
	})
	return u.spans
}

// interval is a range as etcd writes it; "\x00" as its end is no end.
func interval(key, end []byte) adt.Interval {
	switch {
	case len(end) == 0:
		return adt.NewBytesAffinePoint(key)
	case openEnded(end):
		return adt.NewBytesAffineInterval(key, nil)
	}
	return adt.NewBytesAffineInterval(key, end)
}

func openEnded(end []byte) bool { return len(end) == 1 && end[0] == 0 }

// validRange says whether a permission may be given for the range.
func validRange(key, end []byte) bool {
	if len(key) == 0 {
		return false
	}
	return len(end) == 0 || bytes.Compare(key, end) < 0 || openEnded(end)
}

// May says whether a user may read, or else write, all keys of a range. Nobody may anything without a name.
func (s *State) May(name string, write bool, key, end []byte) error {
	if !s.Enabled {
		return nil
	}
	if name == "" {
		return ErrUserEmpty
	}
	u := s.users[name]
	if u == nil {
		return ErrPermissionDenied
	}
	if u.admin {
		return nil
	}
	x := s.spansOf(u)
	tree := x.read
	if write {
		tree = x.write
	}
	i := interval(key, end)
	if len(end) == 0 && tree.Intersects(i) || len(end) != 0 && tree.Contains(i) {
		return nil
	}
	return ErrPermissionDenied
}

// MayAdminister says whether a user has the root role.
func (s *State) MayAdminister(name string) error {
	if !s.Enabled {
		return nil
	}
	if name == "" {
		return ErrUserEmpty
	}
	u := s.users[name]
	switch {
	case u == nil:
		return ErrUserNotFound
	case !u.admin:
		return ErrPermissionDenied
	}
	return nil
}
