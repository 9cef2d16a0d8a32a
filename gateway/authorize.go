package gateway

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/auth"
)

// Action is what a request wants to do with a range of keys.
type Action uint8

// The actions.
const (
	ActionRead Action = iota
	ActionWrite
	ActionAdmin // compaction, maintenance, users and roles: of the root role. It has no keys
)

// authorize asks for one range; end follows etcd: empty for the one key, "\x00" for every key from key on.
func (s *Server) authorize(ctx context.Context, what Action, key, end []byte) error {
	return s.permit(ctx, func(c caller) error { return c.may(what, key, end) })
}

// authorizeUser asks only that the caller is somebody.
func (s *Server) authorizeUser(ctx context.Context) error {
	return s.permit(ctx, func(c caller) error {
		if c.state != nil && c.name == "" {
			return auth.ErrUserEmpty
		}
		return nil
	})
}

// authorizeTxn asks for everything that the transaction may read or write on any path, its compares and the
// previous values that it returns included.
func (s *Server) authorizeTxn(ctx context.Context, req *pb.TxnRequest) error {
	return s.permit(ctx, func(c caller) error { return c.mayTxn(req) })
}

// authorizePut asks for the key, and for all keys of the lease that it is attached to.
func (s *Server) authorizePut(ctx context.Context, r *pb.PutRequest) error {
	return s.permit(ctx, func(c caller) error { return c.mayPut(r) })
}

// authorizeWrite asks for a write, and for a read when the previous value is to be returned.
func (s *Server) authorizeWrite(ctx context.Context, key, end []byte, prev bool) error {
	return s.permit(ctx, func(c caller) error { return c.mayWrite(key, end, prev) })
}

func (c caller) mayTxn(req *pb.TxnRequest) error {
	for _, cmp := range req.GetCompare() {
		if err := c.may(ActionRead, cmp.Key, cmp.RangeEnd); err != nil {
			return err
		}
	}
	for _, ops := range [...][]*pb.RequestOp{req.GetSuccess(), req.GetFailure()} {
		for _, op := range ops {
			if err := c.mayOp(op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c caller) mayOp(op *pb.RequestOp) error {
	switch x := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return c.may(ActionRead, x.RequestRange.GetKey(), x.RequestRange.GetRangeEnd())
	case *pb.RequestOp_RequestPut:
		return c.mayPut(x.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		d := x.RequestDeleteRange
		return c.mayWrite(d.GetKey(), d.GetRangeEnd(), d.GetPrevKv())
	case *pb.RequestOp_RequestTxn:
		return c.mayTxn(x.RequestTxn)
	}
	return nil
}

// mayPut permits a lease only to who may end it: with it end all its keys.
func (c caller) mayPut(r *pb.PutRequest) error {
	if err := c.mayWrite(r.GetKey(), nil, r.GetPrevKv()); err != nil || r.GetLease() == 0 || c.state == nil {
		return err
	}
	return c.mayLease(ActionWrite, r.Lease)
}

func (c caller) mayWrite(key, end []byte, prev bool) error {
	if err := c.may(ActionWrite, key, end); err != nil || !prev {
		return err
	}
	return c.may(ActionRead, key, end)
}
