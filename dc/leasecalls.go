package dc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/lease"
)

// leaseIDAttempts bounds the search for an id that is free; the first one nearly always is.
const leaseIDAttempts = 10

// LeaseGrant commits a lease; only the leader can. Without an id it gets one. [ErrLeaseExists],
// [ErrLeaseTTL] and [ErrTooManyLeases] are refusals, others those of a write.
func (d *DC) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	ttl, err := lease.ClampTTL(r.TTL, d.cfg.minLeaseTTL())
	if err != nil {
		return nil, err
	}
	if _, leading := d.Leading(); leading { // else the queue says so
		// What is under way is not counted: the bound is on memory, and replicas need not agree on it.
		if n := d.leases.len(); n >= d.cfg.MaxLeases {
			return nil, fmt.Errorf("%w: there are %d, the limit is %d", ErrTooManyLeases, n, d.cfg.MaxLeases)
		}
	}
	for range leaseIDAttempts {
		id := r.ID
		if id == 0 {
			id = 1 + rand.Int64N(1<<63-1)
		}
		var resp *pb.LeaseGrantResponse
		resp, err = leaseCommand[*pb.LeaseGrantResponse](ctx, d, lease.Command{
			Op: lease.OpGrant, Leases: []lease.Lease{{ID: id, TTL: ttl}},
		})
		if err == nil || r.ID != 0 || !errors.Is(err, ErrLeaseExists) {
			return resp, err
		}
	}
	return nil, err
}

// LeaseRevoke commits the end of a lease and the deletion of its keys; [ErrLeaseNotFound] when there is none. While
// authentication is on the context must say who asks, [WithUser], and under which users and roles, [WithAuthRevision].
func (d *DC) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if r.ID == 0 {
		return nil, ErrLeaseNotFound
	}
	c := lease.Command{Op: lease.OpRevoke, Leases: []lease.Lease{{ID: r.ID}}}
	if d.users.Load().Enabled {
		c.User, _ = ctx.Value(userKey{}).(string)
	}
	return leaseCommand[*pb.LeaseRevokeResponse](ctx, d, c)
}

func leaseCommand[R any](ctx context.Context, d *DC, c lease.Command) (R, error) {
	var none R
	p, err := d.queue.add(item{kind: kindLease, payload: c.Marshal(), auth: d.authRevision(ctx)})
	if err != nil {
		return none, err
	}
	r := d.queue.wait(ctx, p)
	if r.err != nil {
		return none, r.err
	}
	return r.response.(R), nil
}

// LeaseRenew gives leases all of their time again. The answer is their TTLs, in the order of ids, 0 for one that
// is not there or whose time is over. Only the leader can: [ErrNotLeader].
//
// Nothing is written, so a leader that was deposed without knowing must not answer: what it promises, the next
// one does not keep. It has a majority confirm that it leads, one question for all who ask at the same time.
// In the term that is confirmed, no other leader has counted the leases; one that comes later starts after this
// confirmation, and starts each lease with all that the log says, which is no less than what is promised here.
func (d *DC) LeaseRenew(ctx context.Context, ids []int64) ([]int64, error) {
	term, leading := d.Leading()
	if !leading {
		return nil, ErrNotLeader
	}
	// When another node confirmed instead, an entry of its term is applied here now, and the term is over.
	if err := d.Linearize(ctx); err != nil {
		return nil, err
	}
	for {
		ttls, held, err := d.leases.renew(term, ids)
		if err != nil || len(held) == 0 {
			d.renewed(ttls)
			return ttls, err
		}
		for i := range held {
			held[i].Remaining = 0
		}
		if err := d.checkpoint(ctx, held); err != nil {
			return nil, err
		}
	}
}

func (d *DC) renewed(ttls []int64) {
	n := 0
	for _, ttl := range ttls {
		if ttl > 0 {
			n++
		}
	}
	d.metrics.renewed.Add(float64(n))
}

// LeaseTimeToLive says what is left of a lease, in whole seconds; TTL is -1 when there is none. Only the leader
// can.
func (d *DC) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if _, leading := d.Leading(); !leading {
		return nil, ErrNotLeader
	}
	if err := d.Linearize(ctx); err != nil {
		return nil, err
	}
	resp := &pb.LeaseTimeToLiveResponse{Header: &pb.ResponseHeader{Revision: d.Revision()}, ID: r.ID, TTL: -1}
	x, left, ok, err := d.leases.left(r.ID)
	if err != nil || !ok {
		return resp, err
	}
	resp.TTL, resp.GrantedTTL = int64(left.Seconds()), x.TTL
	if r.Keys {
		resp.Keys = d.LeaseKeys(r.ID)
	}
	return resp, nil
}

// LeaseLeases lists the leases, as of this node, with all that was granted before the call.
func (d *DC) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	if err := d.Linearize(ctx); err != nil {
		return nil, err
	}
	resp := &pb.LeaseLeasesResponse{Header: &pb.ResponseHeader{Revision: d.Revision()}}
	for _, id := range d.leases.ids() {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: id})
	}
	return resp, nil
}

// LeaseKeys are the keys that end with a lease, ascending, as of this node. They must not be changed.
func (d *DC) LeaseKeys(id int64) [][]byte { return d.store.Attached(d.cfg.Name, id) }
