package gateway

import (
	"context"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
)

// fakeNode keeps leases without keys and without time: what matters here is who is asked.

func (n fakeNode) lessor() (map[int64]int64, error) {
	if n.leader != n.id {
		return nil, dc.ErrNotLeader
	}
	if n.leases == nil {
		n.fakeData.leases = map[int64]int64{}
	}
	return n.leases, nil
}

func (n fakeNode) LeaseGrant(_ context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	leases, err := n.lessor()
	if err != nil {
		return nil, err
	}
	if _, taken := leases[r.ID]; taken {
		return nil, dc.ErrLeaseExists
	}
	leases[r.ID] = r.TTL
	return &pb.LeaseGrantResponse{Header: &pb.ResponseHeader{Revision: n.rev}, ID: r.ID, TTL: r.TTL}, nil
}

func (n fakeNode) LeaseRevoke(_ context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	leases, err := n.lessor()
	if err != nil {
		return nil, err
	}
	if _, ok := leases[r.ID]; !ok {
		return nil, dc.ErrLeaseNotFound
	}
	delete(leases, r.ID)
	return &pb.LeaseRevokeResponse{Header: &pb.ResponseHeader{Revision: n.rev}}, nil
}

func (n fakeNode) LeaseRenew(_ context.Context, ids []int64) ([]int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	leases, err := n.lessor()
	if err != nil {
		return nil, err
	}
	n.renewCalls++
	ttls := make([]int64, len(ids))
	for i, id := range ids {
		ttls[i] = leases[id]
	}
	return ttls, nil
}

func (n fakeNode) LeaseTimeToLive(_ context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	leases, err := n.lessor()
	if err != nil {
		return nil, err
	}
	resp := &pb.LeaseTimeToLiveResponse{Header: &pb.ResponseHeader{Revision: n.rev}, ID: r.ID, TTL: -1}
	if ttl, ok := leases[r.ID]; ok {
		resp.TTL, resp.GrantedTTL = ttl, ttl
	}
	return resp, nil
}

func (n fakeNode) LeaseLeases(context.Context, *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	resp := &pb.LeaseLeasesResponse{Header: &pb.ResponseHeader{Revision: n.rev}}
	for _, id := range slices.Sorted(maps.Keys(n.leases)) {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: id})
	}
	return resp, nil
}

func (n fakeNode) LeaseKeys(int64) [][]byte { return nil }
