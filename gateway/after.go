package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"geogate/dc"
	"geogate/replication/policy"
)

// maxAfter bounds the tokens of one request: a session needs one for each datacenter in which it wrote.
const maxAfter = 64

// catchUp returns once this node has applied every write whose token the request names in geogate-after, whichever
// datacenter made it, so that a session may go on in another datacenter with what it wrote in the one before. It
// takes RequestTimeout at most.
func (s *Server) catchUp(ctx context.Context) error {
	values := metadata.ValueFromIncomingContext(ctx, metaAfter)
	if len(values) == 0 {
		return nil
	}
	tokens, err := readAfter(values)
	if err == nil {
		err = s.anyAside(tokens)
	}
	if err != nil || s.behind(tokens) == nil {
		return err
	}
	start := time.Now()
	defer func() { s.metrics.afterWait.Observe(time.Since(start).Seconds()) }()
	timer := time.NewTimer(s.cfg.RequestTimeout)
	defer timer.Stop()
	for {
		changed := s.dc.Changed()
		missing := s.behind(tokens)
		if missing == nil {
			return s.anyAside(tokens)
		}
		var cause error
		select {
		case <-changed:
			continue
		case <-timer.C:
			cause = fmt.Errorf("waited %s for it", s.cfg.RequestTimeout) //nolint:err113 // of this one message
		case <-ctx.Done():
			cause = ctx.Err()
		case <-s.stopping:
			return dc.ErrStopped
		}
		s.metrics.afterFailed.Inc()
		return &behindError{here: s.name, token: *missing, applied: s.dc.Position(missing.Origin).Revision, cause: cause}
	}
}

// readAfter reads tokens, one a value or several with commas between them.
func readAfter(values []string) (out []policy.Token, err error) {
	for _, v := range values {
		for text := range strings.SplitSeq(v, ",") {
			t, err := policy.ParseToken(strings.TrimSpace(text))
			if err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrMetadata, metaAfter, err)
			}
			if out = append(out, t); len(out) > maxAfter {
				return nil, fmt.Errorf("%w: %s: more than %d tokens", ErrMetadata, metaAfter, maxAfter)
			}
		}
	}
	return out, nil
}

// behind is a token that this node has not applied yet; nil when it has applied all.
func (s *Server) behind(tokens []policy.Token) *policy.Token {
	for i, t := range tokens {
		if s.dc.Position(t.Origin).Revision < t.Revision {
			return &tokens[i]
		}
	}
	return nil
}

// behindError is the refusal of a request because this node has not applied a write that the request must see.
type behindError struct {
	here    string
	token   policy.Token
	applied int64 // of the token's origin
	cause   error
}

func (e *behindError) Error() string {
	return fmt.Sprintf("nothing was read or written: %s has not applied %s of %s: it has applied %s up to %d, %v; "+
		"see `geogate lag`, or go on in a datacenter that has it", e.here, e.token, metaAfter, e.token.Origin, e.applied, e.cause)
}

func (e *behindError) Unwrap() error { return e.cause }

// status has a code that nobody repeats by himself: the wait was long already.
func (e *behindError) status() error {
	st := status.New(codes.FailedPrecondition, "geogate: "+e.Error())
	if withInfo, err := st.WithDetails(&errdetails.ErrorInfo{
		Reason: reasonBehind, Domain: errorDomain, Metadata: map[string]string{infoToken: e.token.String()},
	}); err == nil {
		st = withInfo
	}
	return st.Err()
}
