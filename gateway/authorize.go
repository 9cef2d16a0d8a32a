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

// authorizeKeys asks for each of several keys: those of a lease, for instance, all of which a user must be able
// to write who revokes it, and to read who lists them. The root role needs none of them.
func (s *Server) authorizeKeys(ctx context.Context, what Action, keys [][]byte) error {
	return s.permit(ctx, func(c caller) error {
		if c.may(ActionAdmin, nil, nil) == nil {
			return nil
		}
		for _, key := range keys {
			if err := c.may(what, key, nil); err != nil {
				return err
			}
		}
		return nil
	})
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
		return c.mayWrite(x.RequestPut.GetKey(), nil, x.RequestPut.GetPrevKv())
	case *pb.RequestOp_RequestDeleteRange:
		d := x.RequestDeleteRange
		return c.mayWrite(d.GetKey(), d.GetRangeEnd(), d.GetPrevKv())
	case *pb.RequestOp_RequestTxn:
		return c.mayTxn(x.RequestTxn)
	}
	return nil
}

func (c caller) mayWrite(key, end []byte, prev bool) error {
	if err := c.may(ActionWrite, key, end); err != nil || !prev {
		return err
	}
	return c.may(ActionRead, key, end)
}
