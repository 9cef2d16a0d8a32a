package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/replication"
)

// serveRevoke ends a lease here. The client's user must be permitted to write its keys.
func (s *Server) serveRevoke(ctx context.Context, body []byte) (proto.Message, error) {
	var req pb.LeaseRevokeRequest
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	if err := s.authorizeLeases(ctx, ActionWrite, req.ID); err != nil {
		return nil, err
	}
	resp, err := s.dc.LeaseRevoke(ctx, &req)
	if err != nil {
		return nil, err
	}
	self := s.cfg.Origins.Life()
	return resp, grpc.SetTrailer(ctx, metadata.Pairs(callPoints, formatPoints([]point{{self, s.cfg.Origins.AppliedOf(self)}})))
}

// revokeElsewhere ends a lease at the homes of its keys, and waits until their deletes are applied here. found says
// that some home had it. When a home that has the lease can't be asked, nothing is revoked here either.
func (s *Server) revokeElsewhere(ctx context.Context, req *pb.LeaseRevokeRequest) (found bool, err error) {
	for _, home := range s.homesElsewhere() {
		h := s.lockLeases()
		there := h.known[leaseAt{req.ID, home}]
		absent := there != nil && !there.held
		held := there != nil && there.held && !there.lost
		h.mu.Unlock()
		held = held || len(s.cfg.Origins.Attached(home, req.ID)) > 0
		if absent && !held {
			continue
		}
		header := metadata.MD{}
		if err := s.setUser(ctx, header); err != nil {
			return found, err
		}
		body, err := proto.Marshal(req)
		if err != nil {
			return found, err
		}
		reply, err := s.callHome(ctx, home, replication.Request{Method: callRevoke, Header: header, Body: body})
		switch {
		case err == nil:
			found = true
			if points, err := parsePoints(first(reply.Header[callPoints])); err == nil {
				_ = s.awaitPoints(ctx, points) // the keys are deleted; here they go with the chain
			}
		case isLeaseNotFound(err):
		case retryable(err):
			return found, err
		case held:
			return found, &leaseElsewhereError{id: req.ID, home: home, cause: err}
		}
		h = s.lockLeases()
		delete(h.known, leaseAt{req.ID, home})
		h.mu.Unlock()
	}
	return found, nil
}

// leaseElsewhereError is the refusal of a revocation because a home can't be asked.
type leaseElsewhereError struct {
	id    int64
	home  string
	cause error
}

func (e *leaseElsewhereError) Error() string {
	return fmt.Sprintf("lease %016x is not revoked: keys of it are in a keyspace whose home %s did not answer (%v); try again, or let it end by itself",
		uint64(e.id), e.home, e.cause)
}

func (e *leaseElsewhereError) Unwrap() error { return e.cause }

func (e *leaseElsewhereError) status() error {
	return withInfo(codes.Unavailable, e.Error(), reasonNoHome, map[string]string{infoHome: e.home})
}

// keysOf are the keys of a lease, in keyspaces of other homes too, as they are here.
func (s *Server) keysOf(id int64) [][]byte {
	keys := slices.Clip(s.dc.LeaseKeys(id))
	for _, home := range s.homesElsewhere() {
		keys = append(keys, s.cfg.Origins.Attached(home, id)...)
	}
	return keys
}

// revokeLease ends a lease at the homes, then here.
func (s *Server) revokeLease(ctx context.Context, req *pb.LeaseRevokeRequest, local func() (*pb.LeaseRevokeResponse, error)) (*pb.LeaseRevokeResponse, error) {
	found, err := s.revokeElsewhere(ctx, req)
	if err != nil {
		return nil, err
	}
	resp, err := local()
	if found && isLeaseNotFound(err) {
		return &pb.LeaseRevokeResponse{Header: s.header(s.dc.Revision())}, nil
	}
	return resp, err
}

func isLeaseExists(err error) bool { return errors.Is(err, dc.ErrLeaseExists) }

// isLeaseNotFound knows the answer of another datacenter, too.
func isLeaseNotFound(err error) bool {
	return errors.Is(err, dc.ErrLeaseNotFound) || rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(rpctypes.ErrGRPCLeaseNotFound)
}
