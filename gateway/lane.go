package gateway

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/gateway/express"
	"geogate/gateway/trunk"
)

// Puts, transactions and ranges of single keys are most of what a datacenter is asked for. Those without anything unusual
// come here over lanes, and from the other nodes over trunks, and are answered without a goroutine of their own. What turns
// out to need one gets it: spawn has the ordinary handler answer.

// quickMetadata are the keys of metadata with which a write is still plain.
var quickMetadata = map[string]bool{metaPolicy: true, metaTimeout: true}

// newLanes are the lanes under the connections of clients.
func (s *Server) newLanes() *express.Lanes {
	return express.New(express.Config{
		Handlers: map[string]express.Handler{
			pb.KV_Put_FullMethodName:   s.lane(pb.KV_Put_FullMethodName, carry(kvServer{Server: s}.Put), s.putNow),
			pb.KV_Txn_FullMethodName:   s.lane(pb.KV_Txn_FullMethodName, carry(kvServer{Server: s}.Txn), s.txnNow),
			pb.KV_Range_FullMethodName: s.lane(pb.KV_Range_FullMethodName, carry(kvServer{Server: s}.Range), s.rangeNow),
		},
		Open:            func() bool { return s.users() == nil && !s.cfg.Witness },
		Ignored:         map[string]bool{rpctypes.MetadataClientAPIVersionKey: true},
		Carried:         quickMetadata,
		MaxMessageBytes: s.cfg.MaxRequestBytes + grpcOverheadBytes, MaxStreams: s.cfg.MaxConcurrentStreams,
		ConnWindow: connWindow, PingMinTime: pingMinTime,
	})
}

func (s *Server) lane(method string, ordinary trunk.Handler, begin func(quickCall)) express.Handler {
	return func(c *express.Call) { begin(laneCall{c, s, method, ordinary}) }
}

// quick are the methods that come over trunks in the same way. What has other metadata than that it was forwarded, and behind that
// quickMetadata, needs the ordinary handler.
func (s *Server) quick() map[string]func(*trunk.Call) {
	only := func(answer func(quickCall)) func(*trunk.Call) {
		return func(c *trunk.Call) {
			md := c.Metadata()
			ok := len(md) >= 2 && md[0] == metaForwarded && s.users() == nil
			for i := 2; i < len(md); i += 2 {
				ok = ok && quickMetadata[md[i]]
			}
			if !ok {
				c.Pass()
				return
			}
			answer(trunkCall{c})
		}
	}
	return map[string]func(*trunk.Call){
		pb.KV_Put_FullMethodName: only(s.putNow),
		pb.KV_Txn_FullMethodName: only(s.txnNow),
	}
}

// quickCall is a request that is answered later, by one of reply, pass, fail and spawn, from any goroutine. wait says what happens
// when nobody waits any more; the call still has to be answered.
type quickCall interface {
	Request() []byte
	Metadata() []string // of quickMetadata, key, value, key, value
	Wait(left func())
	reply(response proto.Message, trailer []string)
	pass(encoded []byte, trailer []string) // as another node has answered
	Fail(err error, trailer []string)
	spawn()
	forwarded() bool
}

// answer is a response of etcd's.
type answer interface {
	proto.Message
	GetHeader() *pb.ResponseHeader
}

// laneCall is a client's.
type laneCall struct {
	*express.Call
	s        *Server
	method   string
	ordinary trunk.Handler
}

func (c laneCall) forwarded() bool                                { return false }
func (c laneCall) reply(response proto.Message, trailer []string) { c.Reply(response, trailer) }
func (c laneCall) pass(encoded []byte, trailer []string)          { c.ReplyEncoded(encoded, trailer) }

func (c laneCall) spawn() {
	c.s.receivers.Go(func() {
		ctx, done := c.Context(context.Background())
		defer done()
		trailers := &trailerStream{method: c.method}
		ctx = grpc.NewContextWithServerTransportStream(peer.NewContext(ctx, c.Peer()), trailers)
		resp, err := c.ordinary(metadata.NewIncomingContext(ctx, metadata.Pairs(c.Metadata()...)), c.Request())
		if err != nil {
			c.Fail(err, trailers.pairs())
			return
		}
		c.Reply(resp, trailers.pairs())
	})
}

// trunkCall is another node's.
type trunkCall struct{ *trunk.Call }

func (c trunkCall) Metadata() []string                    { return c.Call.Metadata()[2:] } // behind that it was forwarded
func (c trunkCall) forwarded() bool                       { return true }
func (c trunkCall) pass(encoded []byte, trailer []string) { c.ReplyEncoded(encoded, trailer) }
func (c trunkCall) spawn()                                { c.Pass() }

func (c trunkCall) reply(response proto.Message, trailer []string) {
	encoded, err := proto.Marshal(response)
	if err != nil {
		c.Fail(status.Errorf(codes.Internal, "encode the response: %v", err), trailer)
		return
	}
	c.ReplyEncoded(encoded, trailer)
}

// undecodable is gRPC's answer to a request that is not of its method.
func undecodable(err error) error {
	return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
}

// putNow begins to answer a put.
func (s *Server) putNow(c quickCall) {
	req, err := dc.DecodePut(c.Request())
	if err != nil {
		c.Fail(undecodable(err), nil)
		return
	}
	s.beginWrite(&quickWrite{s: s, call: c, method: methodPut, name: pb.KV_Put_FullMethodName, req: req}, s.keyspaces.ofKey(req.Key), checkPut(req))
}

// txnNow begins to answer a transaction that may write.
func (s *Server) txnNow(c quickCall) {
	req, err := dc.DecodeTxn(c.Request())
	if err != nil {
		c.Fail(undecodable(err), nil)
		return
	}
	if s.keyspaces.anySingle || readOnly(req) {
		c.spawn()
		return
	}
	s.beginWrite(&quickWrite{s: s, call: c, method: methodTxn, name: pb.KV_Txn_FullMethodName, req: req}, s.ruleOfTxn(req), checkTxn(req, s.cfg.MaxTxnOps))
}

// beginWrite begins a write by the rule of its keyspace, unless it takes more than that; err is what was found in the request alone.
func (s *Server) beginWrite(w *quickWrite, r rule, err error) {
	if r.overrideFrom(w.call.Metadata(), s.cfg.MaxPolicyTimeout) != nil || !s.plain(&r) {
		w.call.spawn()
		return
	}
	w.policy, w.timeout, w.patience = r.policy, r.timeout, s.patience(&r)
	s.writeNow(w, err)
}

// plain says that a write of the rule waits for nothing but its commit and its peers, is made as it is or not at all, and is
// anybody's to make.
func (s *Server) plain(r *rule) bool {
	return s.users() == nil && r.single == nil && !r.lag.bounded() && (r.unreachable == UnreachableFail || !s.waitsForPeers(r.policy))
}
