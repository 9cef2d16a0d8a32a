package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"geogate/dc"
	"geogate/replication"
)

// maxHomeTries bounds how often a request looks for the home of its keyspace anew, because it moved or its leader
// changed in between. While a keyspace says on_unreachable: wait, time alone is the bound.
const maxHomeTries = 8

// atHome makes the write of a single-writer keyspace as this datacenter's leader: here while this is the home, else
// there. When the home moves meanwhile it follows: a write that a datacenter refused because it is not the home was
// not made.
func atHome[Q proto.Message, R response](ctx context.Context, s *Server, op *operation[Q, R], req Q, r rule) (R, error) {
	var none R
	search := s.newHomeSearch(ctx, r.single, r.timeout)
	defer search.cancel()
	for {
		st := s.cfg.Homes.Standing(r.single.prefix)
		var err error
		switch {
		case st.Here:
			resp, err := commit(dc.WithKeyspace(ctx, r.single.prefix), s, op, req, r)
			if !errors.Is(err, dc.ErrNotHome) {
				if err == nil {
					_ = grpc.SetTrailer(ctx, metadata.Pairs(trailerHome, s.name)) // fails only outside of a call
				}
				return resp, err
			}
			if isCalled(ctx) {
				return none, s.noHome(r.single, st, err)
			}
			search.moved = true
		case isCalled(ctx):
			return none, s.noHome(r.single, st, nil)
		case st.Home.DC == "" || st.Home.DC == s.name:
		case !r.single.forward:
			return none, &notForwardedError{keyspace: r.single.prefix, home: st.Home.DC, here: s.name, endpoints: s.cfg.HomeEndpoints[st.Home.DC]}
		default:
			resp, again, callErr := toHome(ctx, s, op, req, r, st)
			if !again {
				return resp, callErr
			}
			if retryable(callErr) { // this node leads no more
				return none, callErr
			}
			err, search.moved = callErr, true
		}
		if !search.again() {
			return none, s.noHome(r.single, st, err)
		}
	}
}

// homeSearch bounds the search for a home.
type homeSearch struct {
	ctx    context.Context
	cancel context.CancelFunc
	wait   bool
	moved  bool // the last attempt found out that the home is another
	tries  int
	pause  time.Duration
}

func (s *Server) newHomeSearch(ctx context.Context, k *single, timeout time.Duration) *homeSearch {
	h := &homeSearch{wait: k.wait, pause: routePauseMin}
	limit := s.cfg.RouteTimeout
	if k.wait {
		limit = timeout
	}
	h.ctx, h.cancel = context.WithTimeout(ctx, limit)
	return h
}

// again says whether to look again, after a pause.
func (h *homeSearch) again() bool {
	h.tries++
	if !h.wait && (!h.moved || h.tries >= maxHomeTries) {
		return false
	}
	h.moved = false
	ok := sleep(h.ctx, nil, h.pause)
	h.pause = min(2*h.pause, routePauseMax)
	return ok
}

// noHome is the refusal of a request because no datacenter can serve its keyspace now.
func (s *Server) noHome(k *single, st replication.Standing, cause error) error {
	s.metrics.homeRefused.Inc()
	return &noHomeError{keyspace: k.prefix, here: s.name, standing: st, cause: cause}
}

type noHomeError struct {
	keyspace, here string
	standing       replication.Standing
	cause          error
}

func (e *noHomeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nothing was read or written: keyspace %q is single-writer and ", e.keyspace)
	switch st := e.standing; st.Home.DC {
	case "":
		b.WriteString("has no home yet")
	case e.here:
		fmt.Fprintf(&b, "its home %s (epoch %d, this datacenter) can't serve it now", st.Home.DC, st.Epoch)
	default:
		fmt.Fprintf(&b, "its home %s (epoch %d) did not serve it", st.Home.DC, st.Epoch)
	}
	if e.standing.Why != "" {
		b.WriteString(": " + e.standing.Why)
	}
	if e.cause != nil {
		fmt.Fprintf(&b, " (%v)", e.cause)
	}
	b.WriteString("; ask again, or see `geogate dr status`")
	return b.String()
}

func (e *noHomeError) Unwrap() error { return e.cause }

func (e *noHomeError) status() error {
	return withInfo(codes.Unavailable, e.Error(), reasonNoHome, map[string]string{
		infoKeyspace: e.keyspace, infoHome: e.standing.Home.DC, infoEpoch: strconv.FormatUint(e.standing.Epoch, 10), infoWhy: e.standing.Why,
	})
}

// notForwardedError is the refusal of a write elsewhere than at the home, in a keyspace that does not forward.
type notForwardedError struct {
	keyspace, home, here string
	endpoints            []string
}

func (e *notForwardedError) Error() string {
	next := "write there"
	if len(e.endpoints) > 0 {
		next += ", at " + strings.Join(e.endpoints, ",")
	}
	return fmt.Sprintf("nothing was written: keyspace %q is written in its home %s, this is %s, and its writes are not forwarded (forward: false): %s",
		e.keyspace, e.home, e.here, next)
}

// status has a code that nobody repeats: the same request is refused again.
func (e *notForwardedError) status() error {
	return withInfo(codes.FailedPrecondition, e.Error(), reasonNotForwarded, map[string]string{
		infoKeyspace: e.keyspace, infoHome: e.home, infoEndpoints: strings.Join(e.endpoints, ","),
	})
}

// elsewhereError is the answer to a write that its home has made and that did not arrive here in time.
type elsewhereError struct {
	here    string
	receipt metadata.MD
	token   string
	cause   error
}

func (e *elsewhereError) Error() string {
	return fmt.Sprintf("the write is committed in %s as token %s and its policy is met, but %s has not applied it yet (%v), so its answer can't "+
		"be given in the revisions of %s. Do not repeat the write; read with geogate-after: %s instead, or see `geogate lag`",
		first(e.receipt[trailerHome]), e.token, e.here, e.cause, e.here, e.token)
}

func (e *elsewhereError) status() error {
	return withInfo(codes.FailedPrecondition, e.Error(), reasonElsewhere, map[string]string{
		infoToken: e.token, infoHome: first(e.receipt[trailerHome]), infoAckedBy: first(e.receipt[trailerAckedBy]),
	})
}

// withInfo is a status with a machine-readable part.
func withInfo(code codes.Code, text, reason string, md map[string]string) error {
	st := status.New(code, "geogate: "+text)
	if detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: errorDomain, Metadata: md}); err == nil {
		st = detailed
	}
	return st.Err()
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
