package gateway

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/replication"
)

// Serve answers the gateway of another datacenter, which has authenticated its client and permitted the request. It
// is called where this node leads; from is the datacenter whose signature the call has. Nothing is forwarded any further:
// if this is not the home, or not the leader, the answer says so and nothing was done.
func (s *Server) Serve(ctx context.Context, from string, r replication.Request) replication.Reply {
	trailers := &trailerStream{method: r.Method}
	ctx = grpc.NewContextWithServerTransportStream(withCall(ctx, from, r.Header), trailers)
	resp, err := s.serve(ctx, &r)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	reply := replication.Reply{Header: trailers.md}
	if err == nil && resp != nil {
		reply.Body, err = proto.Marshal(resp)
	}
	if err != nil {
		if retryable(err) {
			err = ErrForwardedAstray // this node does not lead: the other gateway asks again
		}
		st := status.Convert(writeStatus(err))
		reply.Code, reply.Message = uint32(st.Code()), st.Message()
		reply.Details, _ = proto.Marshal(st.Proto()) // the code and the text are there without it
	}
	s.metrics.homeServed(from, r.Method, codes.Code(reply.Code))
	return reply
}

func (s *Server) serve(ctx context.Context, r *replication.Request) (proto.Message, error) {
	if _, leading := s.dc.Leading(); !leading {
		return nil, ErrForwardedAstray
	}
	switch {
	case r.Method == callVector, r.Method == callHead:
		return nil, s.serveMarks(ctx, r.Method)
	case s.cfg.Homes == nil:
		return nil, fmt.Errorf("%w: no keyspace of %s is single-writer: the datacenters' configurations differ", ErrMetadata, s.name)
	}
	switch r.Method {
	case callPut:
		return serveWrite(ctx, s, &opPut, &pb.PutRequest{}, r, func(q *pb.PutRequest) error { return checkPut(q) })
	case callDeleteRange:
		return serveWrite(ctx, s, &opDeleteRange, &pb.DeleteRangeRequest{}, r, func(q *pb.DeleteRangeRequest) error { return checkDeleteRange(q) })
	case callTxn:
		return serveWrite(ctx, s, &opTxn, &pb.TxnRequest{}, r, func(q *pb.TxnRequest) error { return checkTxn(q, s.cfg.MaxTxnOps) })
	case callReadPoint:
		return nil, s.serveReadPoint(ctx, first(r.Header[callKeyspace]))
	case callRenew:
		return s.serveRenew(ctx, r.Body)
	case callRevoke:
		return s.serveRevoke(ctx, r.Body)
	}
	return nil, status.Errorf(codes.Unimplemented, "geogate: %s does not know the call %q: upgrade it", s.name, r.Method)
}

// serveWrite makes a write of another datacenter's client here, at the home.
func serveWrite[Q proto.Message, R response](ctx context.Context, s *Server, op *operation[Q, R], req Q, r *replication.Request, check func(Q) error) (proto.Message, error) {
	if err := proto.Unmarshal(r.Body, req); err != nil {
		return nil, fmt.Errorf("%w: body of %s: %w", ErrMetadata, r.Method, err)
	}
	rules, err := s.admit(ctx, check(req), req, func() (rule, error) {
		k, err := s.writer(req)
		if err == nil && k == nil {
			err = fmt.Errorf("%w: its keyspace is not single-writer in %s: the datacenters' configurations differ", ErrMetadata, s.name)
		}
		if err != nil {
			return rule{}, err
		}
		return s.keyspaces.ruleOf(k), op.check(s, ctx, req)
	})
	if err != nil {
		return nil, err
	}
	if err := s.bringLeases(ctx, first(r.Header[callLeases])); err != nil {
		return nil, err
	}
	var made proto.Message = req
	if txn, ok := made.(*pb.TxnRequest); ok {
		if named := first(r.Header[callVersions]); named != "" {
			resolved, err := s.resolveVersions(txn, named)
			if err != nil {
				return nil, err
			}
			ctx, made = dc.WithTranslated(ctx, txn), resolved
		}
	}
	resp, err := atHome(ctx, s, op, made.(Q), rules)
	if err != nil {
		return nil, err
	}
	// An answer that changed nothing here may show what earlier homes wrote, and nothing of this one.
	_ = grpc.SetTrailer(ctx, metadata.Pairs(callPoints, formatPoints(s.pointsOf(rules.single.prefix)[1:])))
	return any(resp).(proto.Message), nil
}

// callKey marks the context of a call from another datacenter.
type callKey struct{}

// homeCall is who calls.
type homeCall struct {
	from string
	user string // as whom the client is authenticated there; empty for nobody
}

// withCall is the context of a call: what the client's metadata says, and who it is. Metadata that is worth something
// only among the nodes of one datacenter, tokens above all, does not count.
func withCall(ctx context.Context, from string, header map[string][]string) context.Context {
	md := metadata.MD{}
	for _, key := range []string{metaPolicy, metaTimeout, metaRequestID, metaAfter} {
		if v := header[key]; len(v) > 0 {
			md[key] = v
		}
	}
	return context.WithValue(metadata.NewIncomingContext(ctx, md), callKey{}, &homeCall{from: from, user: first(header[callUser])})
}

// isCalled says whether a request came from another datacenter.
func isCalled(ctx context.Context) bool { return ctx.Value(callKey{}) != nil }

// userOf is the user of a client of another datacenter. A datacenter in which authentication is off names none; here
// that is nobody, who may do nothing while authentication is on.
func userOf(ctx context.Context) (string, bool) {
	c, ok := ctx.Value(callKey{}).(*homeCall)
	if !ok {
		return "", false
	}
	return c.user, true
}

// trailerStream collects the trailers of a call that did not come through grpc.
type trailerStream struct {
	method string
	md     metadata.MD // one goroutine sets trailers: the one that serves the call
}

func (t *trailerStream) Method() string               { return t.method }
func (t *trailerStream) SetHeader(metadata.MD) error  { return nil }
func (t *trailerStream) SendHeader(metadata.MD) error { return nil }
func (t *trailerStream) SetTrailer(md metadata.MD) error {
	t.md = metadata.Join(t.md, md)
	return nil
}

// pairs is the trailers as key, value, key, value.
func (t *trailerStream) pairs() []string {
	flat := make([]string, 0, 2*len(t.md))
	for key, values := range t.md {
		for _, v := range values {
			flat = append(flat, key, v)
		}
	}
	return flat
}

var _ grpc.ServerTransportStream = (*trailerStream)(nil)
