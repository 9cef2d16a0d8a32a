package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// keys meet at every edge of a range: the least and the greatest bytes, prefixes of each other, folders. Of keys that are alike
// in what they are sorted by etcd returns up to twelve, and no more, in the order that they had.
var keys = []string{
	"a", "aa", "ab", "b", "c", "\x00", "\x00\x01", "\xff", "\xff\xff", "k/1", "k/2", "k/3",
}

// generator draws requests. It knows the revision that the servers have reached, to ask near it.
type generator struct {
	*rand.Rand
	revision  int64
	compacted int64
	leases    bool
	crowded   bool // there may be more keys than [keys]: then they are sorted by nothing but themselves
}

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

func (g *generator) key() []byte {
	if g.one(40) {
		return nil
	}
	return []byte(keys[g.IntN(len(keys))])
}

// end is an end of a range: none, everything from the key on, a prefix, another key (perhaps before it).
func (g *generator) end(key []byte) []byte {
	switch g.IntN(6) {
	case 0, 1:
		return nil
	case 2:
		return []byte{0}
	case 3:
		if len(key) > 0 && key[len(key)-1] < 0xff {
			end := slices.Clone(key)
			end[len(end)-1]++
			return end
		}
		return []byte{0}
	default:
		return g.key()
	}
}

func (g *generator) value() []byte {
	switch g.IntN(12) {
	case 0:
		return nil
	case 1:
		return []byte(strings.Repeat("v", 1+g.IntN(3000)))
	case 2:
		return []byte{0, 0xff, 0x80}
	}
	return []byte(fmt.Sprint(g.IntN(5)))
}

// at is a revision to read at: now, nearby, in the future, compacted or nonsense.
func (g *generator) at() int64 {
	switch g.IntN(12) {
	case 0:
		return g.revision + 1 + g.Int64N(3)
	case 1:
		return -1
	case 2:
		return g.compacted + g.Int64N(3) - 1
	case 3, 4, 5:
		return 1 + g.Int64N(g.revision)
	}
	return 0
}

// lease is mostly none, else one of a few that may exist.
func (g *generator) lease() int64 {
	if g.one(4) {
		return 1 + g.Int64N(6)
	}
	return 0
}

func (g *generator) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{Key: g.key(), Revision: g.at(), Serializable: g.one(4)}
	r.RangeEnd = g.end(r.Key)
	if g.one(3) {
		r.Limit = g.Int64N(5) - 1
	}
	if g.one(3) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.IntN(5))
		if g.crowded {
			r.SortTarget = pb.RangeRequest_KEY
		}
	}
	if g.one(60) {
		r.SortOrder = 7
	}
	if g.one(60) {
		r.SortTarget = -3
	}
	r.KeysOnly, r.CountOnly = g.one(6), g.one(8)
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.one(10) {
			*bound = g.Int64N(g.revision + 2)
		}
	}
	return r
}

func (g *generator) putRequest() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), Lease: g.lease(), PrevKv: g.one(3)}
	if g.one(12) {
		r.IgnoreValue = true
		if !g.one(3) {
			r.Value = nil
		}
	}
	if g.one(12) {
		r.IgnoreLease = true
		if !g.one(3) {
			r.Lease = 0
		}
	}
	return r
}

func (g *generator) deleteRequest() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{Key: g.key(), PrevKv: g.one(2)}
	if g.one(2) {
		r.RangeEnd = g.end(r.Key)
	}
	return r
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{Key: g.key(), Result: pb.Compare_CompareResult(g.IntN(4))}
	if g.one(4) {
		c.RangeEnd = g.end(c.Key)
	}
	near := func() int64 { return g.Int64N(g.revision + 2) }
	switch g.IntN(5) {
	case 0:
		c.Target, c.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{Version: g.Int64N(4)}
	case 1:
		c.Target, c.TargetUnion = pb.Compare_CREATE, &pb.Compare_CreateRevision{CreateRevision: near()}
	case 2:
		c.Target, c.TargetUnion = pb.Compare_MOD, &pb.Compare_ModRevision{ModRevision: near()}
	case 3:
		c.Target, c.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: g.value()}
	default:
		c.Target, c.TargetUnion = pb.Compare_LEASE, &pb.Compare_Lease{Lease: g.lease()}
	}
	if g.one(30) {
		c.TargetUnion = nil
	}
	return c
}

// txn nests up to depth levels.
func (g *generator) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range g.IntN(3) {
		r.Compare = append(r.Compare, g.compare())
	}
	for range g.IntN(4) {
		r.Success = append(r.Success, g.op(depth))
	}
	for range g.IntN(3) {
		r.Failure = append(r.Failure, g.op(depth))
	}
	if depth > 0 && g.one(80) {
		g.crowded = true
		for i := range 127 + g.IntN(4) {
			r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{Key: fmt.Appendf(nil, "many/%d", i)},
			}})
		}
	}
	return r
}

func (g *generator) op(depth int) *pb.RequestOp {
	switch n := g.IntN(10); {
	case n == 0 && g.one(5):
		return &pb.RequestOp{}
	case n < 4:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.putRequest()}}
	case n < 6:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deleteRequest()}}
	case n < 7 && depth > 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth - 1)}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}}
}

func (g *generator) compaction() *pb.CompactionRequest {
	r := &pb.CompactionRequest{Revision: g.compacted + g.Int64N(max(g.revision-g.compacted, 1)) + 1, Physical: g.one(2)}
	if g.one(5) {
		r.Revision = g.revision - 5 + g.Int64N(12)
	}
	return r
}

// next draws the next request to either server.
func (g *generator) next() proto.Message {
	most := 89
	if g.leases {
		most = 100
	}
	switch n := g.IntN(most); {
	case n < 26:
		return g.putRequest()
	case n < 55:
		r := g.rangeRequest()
		// etcd 3.7.3 sorts each part of a stream by itself when only a target is named, and then repeats keys.
		if g.one(5) && (r.SortTarget == pb.RangeRequest_KEY || r.SortOrder != pb.RangeRequest_NONE) {
			return streamed{r}
		}
		return r
	case n < 65:
		return g.deleteRequest()
	case n < 87:
		return g.txn(2)
	case n < 89:
		return g.compaction()
	case n < 93:
		return &pb.LeaseGrantRequest{ID: 1 + g.Int64N(6), TTL: 500 + g.Int64N(1000)}
	case n < 94:
		return &pb.LeaseGrantRequest{ID: 1 + g.Int64N(6), TTL: 9_000_000_000 + g.Int64N(2)} // shorter ones would end at moments of their own
	case n < 96:
		return &pb.LeaseRevokeRequest{ID: 1 + g.Int64N(6)}
	case n < 98:
		return &pb.LeaseTimeToLiveRequest{ID: 1 + g.Int64N(6), Keys: g.one(2)}
	case n < 99:
		return &pb.LeaseLeasesRequest{}
	}
	return &pb.LeaseKeepAliveRequest{ID: 1 + g.Int64N(6)}
}
