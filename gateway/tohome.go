package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication"
	"geogate/replication/policy"
)

// Calls between the gateways of datacenters; README.md has the table. The names change when what they mean does.
const (
	callPut         = "kv.v1/put"
	callDeleteRange = "kv.v1/delete-range"
	callTxn         = "kv.v1/txn"
	callReadPoint   = "home.v1/read-point"
)

// Headers of calls, beside the metadata of requests and the trailers of answers.
const (
	callUser     = "geogate-user"     // as whom the origin has authenticated the client; absent while authentication is off
	callVersions = "geogate-versions" // JSON: the versions that compares of a transaction mean
	callKeyspace = "geogate-keyspace"
	callPoints   = "geogate-points" // DC/incarnation/revision, comma separated: what an answer rests on
	callEpoch    = "geogate-epoch"  // in which the home answers
)

var knownCalls = map[string]bool{callPut: true, callDeleteRange: true, callTxn: true, callReadPoint: true, callVector: true, callHead: true, callRenew: true, callRevoke: true}

var callMethods = map[method]string{methodPut: callPut, methodDeleteRange: callDeleteRange, methodTxn: callTxn}

// toHome has the home make a write, and gives its answer in this datacenter's revisions. again says that the home
// certainly did not make it and may be asked, or looked for, once more; the error then says why.
func toHome[Q proto.Message, R response](ctx context.Context, s *Server, op *operation[Q, R], req Q, r rule, st replication.Standing) (resp R, again bool, err error) {
	var none R
	start := time.Now()
	defer func() { s.metrics.homeForwarded(again, err, start) }()
	call, err := s.homeRequest(ctx, op.method, req, &r)
	if err != nil {
		return none, retryable(err), err
	}
	since := s.dc.Revision() // the home's transaction arrives here after that
	callCtx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout+r.patience()+time.Second)
	reply, err := s.cfg.Homes.Call(callCtx, st.Home.DC, call)
	cancel()
	if err != nil {
		return none, neverMade(err), callError(st.Home.DC, err)
	}
	trailers := ourTrailers(reply.Header)
	points := trailers[callPoints]
	delete(trailers, callPoints)
	s.broughtLeases(st.Home.DC, trailers, start)
	if err := replyStatus(&reply); err != nil {
		if behind := catchUpRevision(err); behind > 0 {
			return none, true, s.awaitPoints(ctx, []point{{st.Home, behind}})
		}
		if refusedByHome(err) {
			return none, true, err
		}
		_ = grpc.SetTrailer(ctx, trailers) // fails only outside of a call
		return none, false, err
	}
	resp = newResponse[R]()
	if err := proto.Unmarshal(reply.Body, resp); err != nil {
		return none, false, fmt.Errorf("%w: answer of %s: %w", ErrConnectionLost, st.Home.DC, err)
	}
	_ = grpc.SetTrailer(ctx, trailers)
	l, err := s.newLocalizer(trailers, points, since)
	if err == nil {
		err = l.localize(ctx, resp)
	}
	if err != nil {
		return none, false, &elsewhereError{here: s.name, receipt: trailers, token: first(trailers[trailerToken]), cause: err}
	}
	return resp, false, nil
}

// newResponse makes an empty response.
func newResponse[R response]() R {
	var none R
	return none.ProtoReflect().New().Interface().(R)
}

// homeRequest is a write as the home is asked for it.
func (s *Server) homeRequest(ctx context.Context, m method, req proto.Message, r *rule) (replication.Request, error) {
	in, _ := metadata.FromIncomingContext(ctx)
	header := metadata.MD{metaPolicy: {r.policy.String()}, metaTimeout: {r.timeout.String()}}
	if r.request != "" {
		header[metaRequestID] = []string{r.request}
	}
	if after := in[metaAfter]; len(after) > 0 {
		header[metaAfter] = after
	}
	if err := s.setUser(ctx, header); err != nil {
		return replication.Request{}, err
	}
	if err := s.nameLeases(ctx, req, header); err != nil {
		return replication.Request{}, err
	}
	if txn, ok := req.(*pb.TxnRequest); ok {
		named, err := s.nameVersions(ctx, txn)
		if err != nil {
			return replication.Request{}, err
		}
		if named != "" {
			header[callVersions] = []string{named}
		}
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return replication.Request{}, fmt.Errorf("encode request: %w", err)
	}
	return replication.Request{Method: callMethods[m], Header: header, Body: body}, nil
}

// setUser names the client for the home, which asks the permissions once more.
func (s *Server) setUser(ctx context.Context, header metadata.MD) error {
	c, err := s.caller(ctx)
	if err != nil {
		return err
	}
	if c.state != nil {
		header[callUser] = []string{c.name}
	}
	return nil
}

// neverMade says that a call that failed did nothing there.
func neverMade(err error) bool {
	return errors.Is(err, replication.ErrNotDelivered) || errors.Is(err, replication.ErrNotLeading)
}

// callError words a call that brought no answer.
func callError(home string, err error) error {
	if neverMade(err) {
		return fmt.Errorf("%s can't be reached from here: %w", home, err)
	}
	return fmt.Errorf("%w: call to %s: %w", ErrConnectionLost, home, err)
}

// replyStatus is the error of an answer, nil when it is none.
func replyStatus(r *replication.Reply) error {
	if codes.Code(r.Code) == codes.OK {
		return nil
	}
	var st spb.Status
	if len(r.Details) > 0 && proto.Unmarshal(r.Details, &st) == nil && codes.Code(st.Code) == codes.Code(r.Code) {
		return status.ErrorProto(&st)
	}
	return status.Error(codes.Code(r.Code), r.Message)
}

// refusedByHome says that the datacenter that was asked is not the home, or its node not the leader: it did nothing.
func refusedByHome(err error) bool {
	return isNotLeader(err) || infoOf(err, reasonNoHome) != nil
}

// infoOf is the metadata of a reason of ours; nil when the error has another one.
func infoOf(err error, reason string) map[string]string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(interface {
			GetReason() string
			GetDomain() string
			GetMetadata() map[string]string
		}); ok && info.GetDomain() == errorDomain && info.GetReason() == reason {
			return info.GetMetadata()
		}
	}
	return nil
}

// catchUpRevision is how far the home wants this datacenter to be before it can tell what a compare means.
func catchUpRevision(err error) int64 {
	n, _ := strconv.ParseInt(infoOf(err, reasonCatchUp)[infoRevision], 10, 64)
	return n
}

// newLocalizer reads from the trailers which state of the home an answer shows.
func (s *Server) newLocalizer(trailers metadata.MD, points []string, since int64) (*localizer, error) {
	token, err := policy.ParseToken(first(trailers[trailerToken]))
	if err != nil {
		return nil, fmt.Errorf("answer of the home: %w", err)
	}
	l := &localizer{
		Server: s, origin: token.Origin, revision: token.Revision, since: since,
		changed: first(trailers[trailerChanged]) != "false",
	}
	if first(trailers[trailerReplayed]) == "true" {
		l.since = 0
	}
	if l.points, err = parsePoints(strings.Join(points, ",")); err != nil {
		return nil, err
	}
	return l, nil
}
