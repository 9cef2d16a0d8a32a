package gateway

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// RangeStream answers a range in pages of about MaxRequestBytes at most. It takes as long as the client takes
// to read it; only the wait for a linearizable state is bounded by RequestTimeout.
func (k kvServer) RangeStream(r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	start := time.Now()
	as, err := readingOf(stream.Context())
	if err == nil {
		err = k.streamRange(stream.Context(), as, r, stream)
	}
	if err != nil {
		err = readStatus(err)
	}
	k.metrics.read(as, r.GetSerializable(), err)
	k.metrics.observe(methodRangeStream, noPolicy, start, err)
	return err
}

func (k kvServer) streamRange(ctx context.Context, as reading, r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	if err := checkRangeStream(r); err != nil {
		return err
	}
	if err := as.suits(r); err != nil {
		return err
	}
	if err := k.authorize(ctx, ActionRead, r.Key, r.RangeEnd); err != nil {
		return err
	}
	if _, err := k.awaitLeader(ctx); err != nil {
		return err
	}
	if err := k.catchUp(ctx); err != nil {
		return err
	}
	pinned := int64(0)
	var err error
	switch {
	case as.applied():
	case as.wide():
		pinned, err = k.pinWide(ctx, as, r)
	case !r.Serializable:
		pinned, err = k.pin(ctx, r)
	}
	if err != nil {
		return err
	}
	if pinned > 0 {
		r = proto.Clone(r).(*pb.RangeRequest)
		r.Revision = pinned
	}
	return k.dc.RangeStream(ctx, r, k.cfg.MaxRequestBytes, func(page *pb.RangeResponse) error {
		if page.Header != nil && pinned > 0 {
			page.Header.Revision = pinned // for who watches from there on
		}
		k.fill(page.Header)
		return stream.Send(&pb.RangeStreamResponse{RangeResponse: page})
	})
}

// pin waits until a stream may begin. Of single-writer keyspaces it chooses the revision to read, unless the client has:
// what is written after the checks of homeRead must not be shown.
func (k kvServer) pin(ctx context.Context, r *pb.RangeRequest) (revision int64, err error) {
	scope := k.keyspaces.scopeOf(r)
	_, err = homeRead(ctx, k.Server, scope, []*pb.RangeRequest{probeOf(r.Key, r.RangeEnd)},
		func(ctx context.Context, lin *linearized) (struct{}, error) {
			if !lin.applied {
				if err := k.linearize(ctx); err != nil {
					return struct{}{}, err
				}
			}
			if len(scope.singles) > 0 && r.Revision == 0 {
				revision = k.dc.Revision()
				if lin.upTo > 0 {
					revision, lin.upTo = lin.upTo, 0
				}
			}
			return struct{}{}, nil
		})
	return revision, err
}

// pinWide does so where other datacenters have a say.
func (k kvServer) pinWide(ctx context.Context, as reading, r *pb.RangeRequest) (revision int64, err error) {
	bounded, cancel := context.WithTimeout(ctx, k.cfg.RequestTimeout)
	defer cancel()
	return wideRead(bounded, k.Server, as, k.keyspaces.scopeOf(r), []*pb.RangeRequest{probeOf(r.Key, r.RangeEnd)},
		func(context.Context) (int64, error) { return k.dc.Revision(), nil })
}

// linearize waits, within bounds, until this node has applied what was committed before.
func (s *Server) linearize(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	err := s.dc.Linearize(bounded)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return rpctypes.ErrGRPCTimeout
	}
	return err
}

// checkRangeStream refuses what can't be paged, as etcd does: clients fall back to Range then.
func checkRangeStream(r *pb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	byKey := r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
	if r.SortOrder != pb.RangeRequest_NONE && !byKey {
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return nil
}
