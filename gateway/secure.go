package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"geogate/replication"
	"geogate/replication/homes"
	"geogate/replication/policy"
)

// What a home has committed by itself, and no other datacenter has, a failover leaves out. Where the keyspace promises
// more, a linearizable read must not have shown it: the read waits until a majority of the datacenters has all writes
// of the keyspace that it may have seen. Writes wait for that anyway.

// securedTo is a revision of this datacenter up to which the writes of a keyspace are known to be in a majority.
type securedTo struct{ revision atomic.Int64 }

func (t *securedTo) raise(to int64) {
	for {
		at := t.revision.Load()
		if at >= to || t.revision.CompareAndSwap(at, to) {
			return
		}
	}
}

var errNotSecured = errors.New("its newest writes are not in enough datacenters yet, so that a failover might leave out what was read")

// secure waits, at the home, until no failover leaves out what was read of a keyspace. Where writes are acknowledged
// without a majority, reads do not wait for one either: under a weaker policy, while the keyspace is degraded, and at a
// home that was forced.
func (s *Server) secure(ctx context.Context, k *single, r rule) error {
	p := min(r.policy, policy.Quorum)
	if p == policy.Async {
		return nil
	}
	latest := s.cfg.Origins.LatestOf(k.prefix)
	if k.secured.revision.Load() >= latest {
		return nil
	}
	st := s.cfg.Homes.Standing(k.prefix)
	switch {
	case st.Home.DC != s.name || !st.Reading:
		return s.noHome(k, st, nil)
	case st.Until.IsZero():
		return nil
	case r.unreachable == UnreachableDegrade && s.replication.Check(p) != nil:
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if _, err := s.replication.Wait(bounded, latest, p); err != nil {
		if errors.Is(err, replication.ErrNotLeading) {
			return err
		}
		return s.noHome(k, s.cfg.Homes.Standing(k.prefix), fmt.Errorf("%w: %w", errNotSecured, err))
	}
	k.secured.raise(latest)
	return nil
}

// secureHere does so for the keyspaces whose home this datacenter is.
func (s *Server) secureHere(ctx context.Context, lin *linearized) error {
	for _, k := range lin.here {
		if err := s.secure(ctx, k, s.keyspaces.ruleOf(k)); err != nil {
			return err
		}
	}
	return nil
}

// wholeWithHome is up to how many datacenters the home and one other are a majority of.
const wholeWithHome = 3

var errMoved = errors.New("it has moved while the keyspace was read")

// secureThere does so for the keyspaces whose home is elsewhere. Up to where that said to read, a majority has all. What
// has come here since, this datacenter and the home have, which is a majority of three; of more, the home is asked
// once more: its answer comes when a majority has all that it had written by then, so all that was read.
func (s *Server) secureThere(ctx context.Context, lin *linearized) error {
	if len(s.cfg.Peers) < wholeWithHome {
		return nil
	}
	for _, e := range lin.there {
		if min(s.keyspaces.ruleOf(e.k).policy, policy.Quorum) != policy.Quorum || s.seenOnly(e.home, e.points) {
			continue
		}
		st, points, err := s.pointsAtHome(ctx, e.k)
		if err != nil {
			return err
		}
		// As long as one home answers in one epoch, only its own place grows.
		if st.Home != e.home || st.Epoch != e.epoch || len(points) == 0 || !slices.Equal(points[1:], e.points[1:]) {
			return s.noHome(e.k, st, errMoved)
		}
	}
	return nil
}

// seenOnly says that nothing has come here from a home beyond what it said.
func (s *Server) seenOnly(home homes.Life, points []point) bool {
	return len(points) > 0 && points[0].life == home && s.cfg.Origins.AppliedOf(home) <= points[0].revision
}

// secureUnchanged is for a transaction that changed nothing: what it found is a read, made under the policy of a write.
func (s *Server) secureUnchanged(ctx context.Context, r rule) error {
	if r.single == nil {
		return nil
	}
	if err := s.secure(ctx, r.single, r); err != nil {
		return err
	}
	if st := s.cfg.Homes.Standing(r.single.prefix); st.Home.DC != s.name || !st.Reading {
		return s.noHome(r.single, st, nil)
	}
	return nil
}

// rangeAt reads the state of a revision that the leader has found to be secured: this node may have applied more. The
// header is of that state too, for who watches from there on.
func (s *Server) rangeAt(ctx context.Context, req *pb.RangeRequest, revision int64) (*pb.RangeResponse, error) {
	pinned := proto.Clone(req).(*pb.RangeRequest)
	pinned.Serializable, pinned.Revision = true, revision
	resp, err := s.dc.Range(ctx, pinned)
	if err == nil {
		resp.Header.Revision = revision
	}
	return resp, err
}
