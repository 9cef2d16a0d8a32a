package gateway

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// single is a keyspace with one writer: its home orders every write and transaction in it.
type single struct {
	prefix  string
	home    string    // as configured: where it begins
	forward bool      // writes that arrive elsewhere go to the home
	secured securedTo // how far its writes are where a failover finds them
	wait    bool      // on_unreachable: while there is no home, requests wait instead of failing
}

// newSingles finds the single-writer keyspaces, by prefix. Mode, home and forward are inherited from "".
func newSingles(config []Keyspace) (map[string]*single, error) {
	root := Keyspace{Mode: MultiWriter}
	for _, k := range config {
		if k.Prefix == "" {
			root = k
		}
	}
	out := map[string]*single{}
	for _, k := range append([]Keyspace{root}, config...) {
		if cmp.Or(k.Mode, root.Mode, MultiWriter) != SingleWriter {
			if k.Home != "" || k.Forward != nil {
				return nil, fmt.Errorf("keyspace %q: home and forward are of mode %s", k.Prefix, SingleWriter)
			}
			continue
		}
		s := &single{
			prefix: k.Prefix, home: cmp.Or(k.Home, root.Home), forward: true,
			wait: cmp.Or(k.OnUnreachable, root.OnUnreachable) == UnreachableWait,
		}
		if s.home == "" {
			return nil, fmt.Errorf("keyspace %q: mode %s needs a home", k.Prefix, SingleWriter)
		}
		if f := cmp.Or(k.Forward, root.Forward); f != nil {
			s.forward = *f
		}
		out[k.Prefix] = s
	}
	return out, nil
}

// ruleOf is the rule of a single-writer keyspace.
func (ks *keyspaces) ruleOf(k *single) rule {
	for i := range ks.nested {
		if ks.nested[i].prefix == k.prefix {
			return ks.nested[i].rule
		}
	}
	return ks.root
}

// single is the single-writer keyspace of a prefix; nil when there is none.
func (ks *keyspaces) single(prefix string) *single {
	if prefix == "" {
		return ks.root.single
	}
	for i := range ks.nested {
		if ks.nested[i].prefix == prefix {
			return ks.nested[i].rule.single
		}
	}
	return nil
}

// scope is the keyspaces that one request touches.
type scope struct {
	singles map[string]*single
	multi   map[string]bool
}

func (sc *scope) add(prefix string, r *rule) {
	if r.single == nil {
		if sc.multi == nil {
			sc.multi = map[string]bool{}
		}
		sc.multi[prefix] = true
		return
	}
	if sc.singles == nil {
		sc.singles = map[string]*single{}
	}
	sc.singles[prefix] = r.single
}

// scopeOf is what the requests' keys and ranges touch, compares and both branches of a transaction included.
func (ks *keyspaces) scopeOf(req proto.Message) *scope {
	sc := &scope{}
	if !ks.anySingle {
		return sc
	}
	switch r := req.(type) {
	case *pb.RangeRequest:
		ks.touched(r.Key, r.RangeEnd, sc.add)
	case *pb.PutRequest:
		ks.touched(r.Key, nil, sc.add)
	case *pb.DeleteRangeRequest:
		ks.touched(r.Key, r.RangeEnd, sc.add)
	case *pb.TxnRequest:
		ks.scopeOfTxn(r, sc)
	}
	return sc
}

func (ks *keyspaces) scopeOfTxn(r *pb.TxnRequest, sc *scope) {
	eachCompare(r, func(c *pb.Compare) { ks.touched(c.Key, c.RangeEnd, sc.add) })
	eachOp(r, func(op *pb.RequestOp) {
		switch x := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			ks.touched(x.RequestRange.Key, x.RequestRange.RangeEnd, sc.add)
		case *pb.RequestOp_RequestPut:
			ks.touched(x.RequestPut.Key, nil, sc.add)
		case *pb.RequestOp_RequestDeleteRange:
			ks.touched(x.RequestDeleteRange.Key, x.RequestDeleteRange.RangeEnd, sc.add)
		}
	})
}

// eachCompare calls fn for every compare, those of nested transactions included, in an order that depends on the
// request alone.
func eachCompare(r *pb.TxnRequest, fn func(*pb.Compare)) {
	for _, c := range r.GetCompare() {
		fn(c)
	}
	for _, ops := range [...][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			if t := op.GetRequestTxn(); t != nil {
				eachCompare(t, fn)
			}
		}
	}
}

// sorted are the single-writer keyspaces by prefix.
func (sc *scope) sorted() []*single {
	out := make([]*single, 0, len(sc.singles))
	for _, prefix := range slices.Sorted(maps.Keys(sc.singles)) {
		out = append(out, sc.singles[prefix])
	}
	return out
}

// writer is the single-writer keyspace that orders a write; nil when it is ordered here, in multi-writer keyspaces.
// A write carries the epoch of one keyspace, so one that touches two of them is refused even while one datacenter is
// the home of both.
func (s *Server) writer(req proto.Message) (*single, error) {
	if !s.keyspaces.anySingle {
		return nil, nil
	}
	sc := s.keyspaces.scopeOf(req)
	if len(sc.singles) == 0 {
		return nil, nil
	}
	if len(sc.singles) == 1 && len(sc.multi) == 0 {
		return sc.sorted()[0], nil
	}
	hint := "split it, so that each part has all of its keys, compares and ranges in one keyspace"
	if len(sc.multi) == 0 && len(s.homesOf(sc.sorted())) == 1 {
		hint = "they have the same home now, but homes move one keyspace at a time: " + hint
	}
	return nil, fmt.Errorf("nothing was written: %w: it touches %s: %s", ErrSeveralWriters, s.describe(sc), hint)
}

// describe names the keyspaces of a scope for an error.
func (s *Server) describe(sc *scope) string {
	var names []string
	for _, k := range sc.sorted() {
		names = append(names, fmt.Sprintf("keyspace %q (single-writer, home %s)", k.prefix, s.homeName(k)))
	}
	for _, prefix := range slices.Sorted(maps.Keys(sc.multi)) {
		names = append(names, fmt.Sprintf("keyspace %q (multi-writer)", prefix))
	}
	return strings.Join(names, ", ")
}

// homeName is the present home, as far as it is known here.
func (s *Server) homeName(k *single) string {
	if st := s.cfg.Homes.Standing(k.prefix); st.Home.DC != "" {
		return st.Home.DC
	}
	return "none yet, " + k.home + " is configured"
}

// homesOf are the different homes of keyspaces.
func (s *Server) homesOf(singles []*single) map[string]bool {
	out := map[string]bool{}
	for _, k := range singles {
		out[s.cfg.Homes.Standing(k.prefix).Home.DC] = true
	}
	return out
}
