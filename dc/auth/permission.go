package auth

import (
	"bytes"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/pkg/v3/adt"
)

// spans are the ranges of all roles of a user.
type spans struct{ read, write ranges }

// ranges answers for single keys, which most requests have, by a search in merged ranges. For ranges etcd's own
// interval tree makes the answers for odd ones etcd's too.
type ranges struct {
	tree   adt.IntervalTree
	merged []span // ascending, with a gap between any two
}

type span struct {
	begin, end []byte
	open       bool // no end
}

func newRanges(perms []*authpb.Permission) ranges {
	r := ranges{tree: adt.NewIntervalTree()}
	var all []span
	for _, p := range perms {
		r.tree.Insert(interval(p.Key, p.RangeEnd), struct{}{})
		s := span{begin: p.Key, end: p.RangeEnd, open: openEnded(p.RangeEnd)}
		if len(p.RangeEnd) == 0 {
			s.end = append(slices.Clone(p.Key), 0)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b span) int { return bytes.Compare(a.begin, b.begin) })
	for _, s := range all {
		n := len(r.merged) - 1
		if n < 0 || !r.merged[n].open && bytes.Compare(s.begin, r.merged[n].end) > 0 {
			r.merged = append(r.merged, s)
			continue
		}
		last := &r.merged[n]
		if bytes.Compare(s.end, last.end) > 0 {
			last.end = s.end
		}
		last.open = last.open || s.open
	}
	return r
}

func (r *ranges) hold(key, end []byte) bool {
	if len(end) != 0 {
		return r.tree.Contains(interval(key, end))
	}
	i, found := slices.BinarySearchFunc(r.merged, key, func(s span, key []byte) int { return bytes.Compare(s.begin, key) })
	if found {
		return true
	}
	return i > 0 && (r.merged[i-1].open || bytes.Compare(key, r.merged[i-1].end) < 0)
}

func (s *State) spansOf(u *user) *spans {
	u.once.Do(func() {
		var read, write []*authpb.Permission
		for _, name := range u.roles {
			r := s.roles[name]
			if r == nil {
				continue // root, which needs none
			}
			for _, p := range r.permissions {
				if p.PermType != authpb.Permission_WRITE {
					read = append(read, p)
				}
				if p.PermType != authpb.Permission_READ {
					write = append(write, p)
				}
			}
		}
		u.spans = &spans{read: newRanges(read), write: newRanges(write)}
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
	r := &x.read
	if write {
		r = &x.write
	}
	if r.hold(key, end) {
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
