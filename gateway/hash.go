package gateway

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// HashKV is equal on all nodes of a datacenter for the same revision and the same compacted revision. It is
// not etcd's sum, and it differs between datacenters, whose revisions are their own: those are compared by
// digest and vector.
func (m maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	h, err := m.hash(ctx, r.Revision)
	if err != nil {
		return nil, readStatus(err)
	}
	compacted := h.Compacted
	if compacted == 0 {
		compacted = -1 // as etcd says "never"
	}
	return &pb.HashKVResponse{
		Header: m.header(h.Current), Hash: h.Sum, CompactRevision: compacted, HashRevision: h.Revision,
	}, nil
}

// Hash is HashKV of the newest revision: what else a node keeps is not the same on all nodes at all times.
func (m maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	h, err := m.hash(ctx, 0)
	if err != nil {
		return nil, readStatus(err)
	}
	return &pb.HashResponse{Header: m.header(h.Revision), Hash: h.Sum}, nil
}

func (m maintenanceServer) hash(ctx context.Context, revision int64) (store.Hash, error) {
	end, err := m.beginWork(ctx)
	if err != nil {
		return store.Hash{}, err
	}
	defer end()
	return m.dc.Hash(ctx, revision)
}
