package gateway

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// kvServer is etcd's KV service. It embeds the unsafe server so that a new RPC in the API fails to compile.
type kvServer struct {
	pb.UnsafeKVServer
	*Server
}

func (k kvServer) Put(ctx context.Context, req *pb.PutRequest) (*pb.PutResponse, error) {
	start := time.Now()
	r, err := k.admit(ctx, checkPut(req), req, func() (rule, error) {
		return k.keyspaces.ofKey(req.Key), k.authorizePut(ctx, req)
	})
	return finish(ctx, k.Server, &opPut, req, r, start, err)
}

func (k kvServer) DeleteRange(ctx context.Context, req *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	start := time.Now()
	r, err := k.admit(ctx, checkDeleteRange(req), req, func() (rule, error) {
		r, err := k.keyspaces.ofRange(req.Key, req.RangeEnd), k.authorizeWrite(ctx, req.Key, req.RangeEnd, req.PrevKv)
		if err == nil {
			r.single, err = k.writer(req)
		}
		return r, err
	})
	return finish(ctx, k.Server, &opDeleteRange, req, r, start, err)
}

func (k kvServer) Txn(ctx context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	start := time.Now()
	err := checkTxn(req, k.cfg.MaxTxnOps)
	if err == nil && readOnly(req) {
		return k.readTxn(ctx, req, start)
	}
	if err == nil {
		var as reading
		if as, err = readingOf(ctx); err == nil {
			err = as.ofWrite()
		}
	}
	r, err := k.admit(ctx, err, req, func() (rule, error) {
		r, err := k.ruleOfTxn(req), k.authorizeTxn(ctx, req)
		if err == nil {
			r.single, err = k.writer(req)
		}
		return r, err
	})
	return finish(ctx, k.Server, &opTxn, req, r, start, err)
}

func (k kvServer) Compact(ctx context.Context, req *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	start := time.Now()
	r, err := k.admit(ctx, nil, req, func() (rule, error) {
		r := k.keyspaces.root
		r.single = nil // history is this datacenter's own, whoever writes
		return r, k.authorize(ctx, ActionAdmin, nil, nil)
	})
	return finish(ctx, k.Server, &opCompact, req, r, start, err)
}

func (k kvServer) Range(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	start := time.Now()
	as, refused := readingOf(ctx)
	resp, err := answerRead(ctx, k.Server, methodRange, start, func() error {
		if err := checkRange(req); err != nil {
			return err
		}
		if refused == nil {
			refused = as.suits(req)
		}
		if refused != nil {
			return refused
		}
		return k.authorize(ctx, ActionRead, req.Key, req.RangeEnd)
	}, func(ctx context.Context) (*pb.RangeResponse, error) {
		switch {
		case as.applied():
			return k.dc.Range(ctx, serializable(req))
		case as.wide():
			return k.wideRange(ctx, as, req)
		case req.Serializable || !k.keyspaces.anySingle:
			return k.dc.Range(ctx, req)
		}
		return k.homeRange(ctx, req)
	})
	k.metrics.read(as, req.Serializable, err)
	return resp, err
}

// wideRange is a range in which other datacenters have a say.
func (k kvServer) wideRange(ctx context.Context, as reading, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	return wideRead(ctx, k.Server, as, k.keyspaces.scopeOf(req), []*pb.RangeRequest{probeOf(req.Key, req.RangeEnd)},
		func(ctx context.Context) (*pb.RangeResponse, error) { return k.dc.Range(ctx, serializable(req)) })
}

func (k kvServer) readTxn(ctx context.Context, req *pb.TxnRequest, start time.Time) (*pb.TxnResponse, error) {
	as, refused := readingOf(ctx)
	if refused == nil {
		refused = as.suitsTxn(req)
	}
	resp, err := answerRead(ctx, k.Server, methodReadTxn, start,
		func() error {
			if refused != nil {
				return refused
			}
			return k.authorizeTxn(ctx, req)
		},
		func(ctx context.Context) (*pb.TxnResponse, error) {
			applied := func(ctx context.Context) (*pb.TxnResponse, error) { return k.dc.AppliedTxn(ctx, req) }
			switch {
			case as.applied():
				return applied(ctx)
			case as.wide():
				every := func(_, _ []byte) bool { return true }
				return wideRead(ctx, k.Server, as, k.keyspaces.scopeOf(req), probesOfTxn(req, every), applied)
			case !k.keyspaces.anySingle:
				return k.dc.ReadTxn(ctx, req)
			}
			return homeRead(ctx, k.Server, k.keyspaces.scopeOf(req), probesOfTxn(req, k.inSingle), func(ctx context.Context, _ *linearized) (*pb.TxnResponse, error) {
				return k.dc.ReadTxn(ctx, req)
			})
		})
	k.metrics.read(as, false, err)
	return resp, err
}

// admit makes the checks of a write that need no state, in the order in which etcd makes them, and finds
// out what the write has to do.
func (s *Server) admit(ctx context.Context, checked error, req proto.Message, look func() (rule, error)) (rule, error) {
	if checked != nil {
		return rule{}, checked
	}
	if _, err := s.awaitLeader(ctx); err != nil {
		return rule{}, err
	}
	revision := s.authRevision()
	r, err := look()
	if err != nil {
		return rule{}, err
	}
	r.auth = revision
	if err := r.override(ctx, s.cfg.MaxPolicyTimeout); err != nil {
		return rule{}, err
	}
	if err := r.readRequestID(ctx); err != nil {
		return rule{}, err
	}
	if err := checkSize(req, s.cfg.MaxRequestBytes); err != nil {
		return rule{}, err
	}
	return r, s.catchUp(ctx)
}

// finish makes the write unless it was refused, and turns the outcome into an answer.
func finish[Q proto.Message, R response](ctx context.Context, s *Server, op *operation[Q, R], req Q, r rule, start time.Time, refused error) (R, error) {
	var resp R
	err := refused
	if err == nil {
		resp, err = write(ctx, s, op, req, r)
	}
	if err != nil {
		err = writeStatus(err)
	}
	p := int(r.policy)
	if refused != nil || op.exempt {
		p = noPolicy
	}
	s.metrics.observe(op.method, p, start, err)
	return resp, err
}

// answerRead runs a read within the time that one may take.
func answerRead[R response](ctx context.Context, s *Server, m method, start time.Time,
	check func() error, read func(context.Context) (R, error)) (R, error) {
	var resp R
	users := s.users()
	err := check()
	if err == nil {
		_, err = s.awaitLeader(ctx)
	}
	if err == nil {
		err = s.catchUp(ctx)
	}
	if err == nil {
		readCtx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		resp, err = read(readCtx)
		cancel()
		if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			err = rpctypes.ErrGRPCTimeout
		}
	}
	if now := s.users(); err == nil && now != users {
		// What was read may be newer than what permitted it: a right that was taken away before the read began
		// must not serve because this node heard of it during the read.
		err = check()
	}
	if err != nil {
		var none R
		resp, err = none, readStatus(err)
	} else {
		s.fill(resp.GetHeader())
	}
	s.metrics.observe(m, noPolicy, start, err)
	return resp, err
}

// ruleOfTxn is the strictest of all keyspaces that either branch may write.
func (s *Server) ruleOfTxn(req *pb.TxnRequest) rule {
	if len(s.keyspaces.nested) == 0 {
		return s.keyspaces.root
	}
	r := weakest
	eachOp(req, func(op *pb.RequestOp) {
		switch x := op.GetRequest().(type) {
		case *pb.RequestOp_RequestPut:
			r.add(s.keyspaces.ofKey(x.RequestPut.Key))
		case *pb.RequestOp_RequestDeleteRange:
			r.add(s.keyspaces.ofRange(x.RequestDeleteRange.Key, x.RequestDeleteRange.RangeEnd))
		}
	})
	return r
}

// eachOp calls fn for every operation of both branches, nested ones included, that is not a transaction.
func eachOp(req *pb.TxnRequest, fn func(*pb.RequestOp)) {
	for _, ops := range [...][]*pb.RequestOp{req.GetSuccess(), req.GetFailure()} {
		for _, op := range ops {
			if t := op.GetRequestTxn(); t != nil {
				eachOp(t, fn)
				continue
			}
			fn(op)
		}
	}
}
