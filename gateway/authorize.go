package gateway

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (s *Server) authorize(ctx context.Context, what Action, key, end []byte) error {
	if s.cfg.Authorizer == nil {
		return nil
	}
	return s.cfg.Authorizer.Authorize(ctx, Access{Action: what, Key: key, End: end})
}

// authorizeTxn asks for everything that the transaction may read or write on any path, its compares and the
// previous values that it returns included.
func (s *Server) authorizeTxn(ctx context.Context, req *pb.TxnRequest) error {
	if s.cfg.Authorizer == nil {
		return nil
	}
	for _, c := range req.GetCompare() {
		if err := s.authorize(ctx, ActionRead, c.Key, c.RangeEnd); err != nil {
			return err
		}
	}
	for _, ops := range [...][]*pb.RequestOp{req.GetSuccess(), req.GetFailure()} {
		for _, op := range ops {
			if err := s.authorizeOp(ctx, op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) authorizeOp(ctx context.Context, op *pb.RequestOp) error {
	switch x := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return s.authorize(ctx, ActionRead, x.RequestRange.Key, x.RequestRange.RangeEnd)
	case *pb.RequestOp_RequestPut:
		return s.authorizeWrite(ctx, x.RequestPut.Key, nil, x.RequestPut.PrevKv)
	case *pb.RequestOp_RequestDeleteRange:
		d := x.RequestDeleteRange
		return s.authorizeWrite(ctx, d.Key, d.RangeEnd, d.PrevKv)
	case *pb.RequestOp_RequestTxn:
		return s.authorizeTxn(ctx, x.RequestTxn)
	}
	return nil
}

// authorizeWrite asks for a write, and for a read when the previous value is to be returned.
func (s *Server) authorizeWrite(ctx context.Context, key, end []byte, prev bool) error {
	if err := s.authorize(ctx, ActionWrite, key, end); err != nil || !prev {
		return err
	}
	return s.authorize(ctx, ActionRead, key, end)
}
