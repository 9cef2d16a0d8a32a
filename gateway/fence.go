package gateway

import (
	"context"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// fenced refuses a write of a multi-writer keyspace, which competes by its stamp, while this node's clock is
// ahead. It is asked where the write is stamped: at the leader.
func (s *Server) fenced(ctx context.Context, r rule) error {
	err := s.replication.Originate()
	if err == nil {
		return nil
	}
	s.metrics.fenceRefused.Inc()
	_ = grpc.SetTrailer(ctx, metadata.Pairs(metaPolicy, r.policy.String())) // fails only outside of a call
	return &clockError{cause: err, repeatable: r.request != ""}
}

// clockError is the refusal of a write because of this node's clock.
type clockError struct {
	cause      error
	repeatable bool // the write has a request id
}

func (e *clockError) Error() string {
	done := "nothing was written"
	if e.repeatable {
		done += " by this attempt"
	}
	return fmt.Sprintf("%s: %v", done, e.cause)
}

func (e *clockError) Unwrap() error { return e.cause }

// status has a code that nobody repeats: the clock does not get right by asking again.
func (e *clockError) status() error {
	st := status.New(codes.FailedPrecondition, "geogate: "+e.Error())
	if withInfo, err := st.WithDetails(&errdetails.ErrorInfo{Reason: reasonClock, Domain: errorDomain}); err == nil {
		st = withInfo
	}
	return st.Err()
}
