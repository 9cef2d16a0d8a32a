package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/dc"
	"geogate/dc/auth"
	"geogate/dc/store"
	"geogate/replication/policy"
)

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		domain error
		want   error
	}{
		{dc.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
		{dc.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
		{store.ErrCompacted, rpctypes.ErrGRPCCompacted},
		{store.ErrFutureRev, rpctypes.ErrGRPCFutureRev},
		{dc.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
		{dc.ErrBusy, rpctypes.ErrGRPCRequestTooManyRequests},
		{dc.ErrStopped, rpctypes.ErrGRPCStopped},
		{ErrNoLeader, rpctypes.ErrGRPCNoLeader},
		{dc.ErrSuperseded, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
		{dc.ErrUnknownOutcome, rpctypes.ErrGRPCTimeout},
		{ErrConnectionLost, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
		{ErrForwardedAstray, rpctypes.ErrGRPCNotLeader},
		{auth.ErrPermissionDenied, rpctypes.ErrGRPCPermissionDenied},
		{auth.ErrInvalidToken, rpctypes.ErrGRPCInvalidAuthToken},
		{auth.ErrOldRevision, rpctypes.ErrGRPCAuthOldRevision},
	} {
		if got := statusOf(fmt.Errorf("op: %w", c.domain)); got != c.want {
			t.Errorf("%v: got %v, want %v", c.domain, got, c.want)
		}
	}
	if err := statusOf(rpctypes.ErrGRPCEmptyKey); err != rpctypes.ErrGRPCEmptyKey {
		t.Errorf("a status was changed: %v", err)
	}
	if got := status.Code(statusOf(errors.New("x"))); got != codes.Unknown {
		t.Errorf("an unknown error: %v", got)
	}
}

// A client whose own context lives repeats a write that fails with a code of a context.
func TestWriteNeverHasAContextCode(t *testing.T) {
	for _, err := range []error{
		context.Canceled, context.DeadlineExceeded, rpctypes.ErrGRPCCanceled, rpctypes.ErrGRPCDeadlineExceeded,
		fmt.Errorf("%w: %w", dc.ErrUnknownOutcome, context.Canceled),
		fmt.Errorf("%w: %w", ErrConnectionLost, context.DeadlineExceeded),
		&notMetError{receipt: policy.Receipt{}, cause: context.Canceled},
	} {
		switch code := status.Code(writeStatus(err)); code {
		case codes.Canceled, codes.DeadlineExceeded, codes.OK:
			t.Errorf("%v became %v", err, code)
		}
	}
}

func TestNotMetTravelsThroughAGateway(t *testing.T) {
	sent := statusOf(&notMetError{receipt: policy.Receipt{
		Token: policy.Token{Origin: "dc-a", Revision: 7}, Policy: policy.All, AckedBy: []string{"dc-a", "dc-c"},
	}})
	names, ok := notMetAckedBy(sent)
	if !ok || len(names) != 2 || names[1] != "dc-c" {
		t.Errorf("got %v, %v", names, ok)
	}
	if _, ok := notMetAckedBy(rpctypes.ErrGRPCNotLeader); ok {
		t.Error("another error of the same code was taken for it")
	}
}

func TestHTTPStatus(t *testing.T) {
	for err, want := range map[error]int{
		nil: http.StatusOK, ErrNoLeader: http.StatusServiceUnavailable, ErrMetadata: http.StatusBadRequest,
		dc.ErrLeaseNotFound: http.StatusNotFound, auth.ErrPermissionDenied: http.StatusForbidden, dc.ErrBusy: http.StatusTooManyRequests,
		errors.New("x"): http.StatusInternalServerError,
	} {
		if got := HTTPStatus(err); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
}
