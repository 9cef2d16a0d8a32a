package gateway

import (
	"context"
	"errors"
	"net/http"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/dc"
	"geogate/dc/auth"
	"geogate/dc/store"
	"geogate/replication"
)

// This file alone turns errors of the domain into codes. Where etcd has an error for the case, its text and
// code are used, because clients tell errors apart by text.
//
// The code of ErrNotMet is chosen by what clientv3's retry interceptor does: it repeats any call, a write
// too, that fails with DEADLINE_EXCEEDED or CANCELED while the caller's own context still lives, and other
// clients and proxies repeat UNAVAILABLE. The write is committed, so a repetition would be a second write.
// FAILED_PRECONDITION is repeated by nobody, and clientv3 hands it on as it is.

// wire are the domain errors that have a fixed answer.
var wire = []struct{ domain, status error }{
	{dc.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{dc.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{dc.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
	{dc.ErrLeaseTTL, rpctypes.ErrGRPCLeaseTTLTooLarge},
	{store.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{store.ErrFutureRev, rpctypes.ErrGRPCFutureRev},
	{dc.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{dc.ErrLowDisk, rpctypes.ErrGRPCNoSpace},
	{dc.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	{dc.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{store.ErrBusy, rpctypes.ErrGRPCRequestTooManyRequests},
	{dc.ErrBusy, rpctypes.ErrGRPCRequestTooManyRequests},
	{ErrForwardedAstray, rpctypes.ErrGRPCNotLeader},
	{ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{dc.ErrNotLeader, rpctypes.ErrGRPCNoLeader},
	{replication.ErrNotLeading, rpctypes.ErrGRPCNoLeader},
	{dc.ErrSuperseded, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{ErrConnectionLost, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
	{dc.ErrUnknownOutcome, rpctypes.ErrGRPCTimeout},
	{dc.ErrStopped, rpctypes.ErrGRPCStopped},
	{dc.ErrMemberNotFound, rpctypes.ErrGRPCMemberNotFound},
	{dc.ErrMemberExists, rpctypes.ErrGRPCMemberExist},
	{dc.ErrMemberAddrExists, rpctypes.ErrGRPCPeerURLExist},
	{dc.ErrMemberNotLearner, rpctypes.ErrGRPCMemberNotLearner},
	{dc.ErrLearnerBehind, rpctypes.ErrGRPCLearnerNotReady},
	{dc.ErrTooManyLearners, rpctypes.ErrGRPCTooManyLearners},
	{dc.ErrNotEnoughStarted, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{dc.ErrUnhealthy, rpctypes.ErrGRPCUnhealthy},
	{dc.ErrMembersBusy, rpctypes.ErrGRPCRequestTooManyRequests},
	{errMemberURLs, rpctypes.ErrGRPCMemberBadURLs},
	{errBadTransferee, rpctypes.ErrGRPCBadLeaderTransferee},
	{auth.ErrRootUserNotExist, rpctypes.ErrGRPCRootUserNotExist},
	{auth.ErrRootRoleNotExist, rpctypes.ErrGRPCRootRoleNotExist},
	{auth.ErrUserAlreadyExist, rpctypes.ErrGRPCUserAlreadyExist},
	{auth.ErrUserEmpty, rpctypes.ErrGRPCUserEmpty},
	{auth.ErrUserNotFound, rpctypes.ErrGRPCUserNotFound},
	{auth.ErrRoleAlreadyExist, rpctypes.ErrGRPCRoleAlreadyExist},
	{auth.ErrRoleNotFound, rpctypes.ErrGRPCRoleNotFound},
	{auth.ErrRoleEmpty, rpctypes.ErrGRPCRoleEmpty},
	{auth.ErrAuthFailed, rpctypes.ErrGRPCAuthFailed},
	{auth.ErrNoPasswordUser, status.Error(codes.Unknown, auth.ErrNoPasswordUser.Error())}, // as in etcd, which has no code for it
	{auth.ErrPermissionNotGiven, rpctypes.ErrGRPCPermissionNotGiven},
	{auth.ErrPermissionDenied, rpctypes.ErrGRPCPermissionDenied},
	{auth.ErrRoleNotGranted, rpctypes.ErrGRPCRoleNotGranted},
	{auth.ErrPermissionNotGranted, rpctypes.ErrGRPCPermissionNotGranted},
	{auth.ErrNotEnabled, rpctypes.ErrGRPCAuthNotEnabled},
	{auth.ErrInvalidToken, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.ErrInvalidMgmt, rpctypes.ErrGRPCInvalidAuthMgmt},
	{auth.ErrOldRevision, rpctypes.ErrGRPCAuthOldRevision},
}

// worded are the domain errors whose own text goes out.
var worded = []struct {
	domain error
	code   codes.Code
}{
	{ErrMetadata, codes.InvalidArgument},
	{ErrSeveralWriters, codes.InvalidArgument},
	{ErrTranslated, codes.InvalidArgument},
	{dc.ErrRequestReused, codes.InvalidArgument},
	{dc.ErrTooManyLeases, codes.ResourceExhausted},
	{errNotApplied, codes.Unavailable},
	{dc.ErrNotHome, codes.Unavailable},
	{ErrUnreachable, codes.Unavailable},
	{ErrOverBudget, codes.Unavailable},
	{dc.ErrTransfer, codes.Unavailable},
	{errFixed, codes.Unimplemented},
	{errOldLeader, codes.Unimplemented},
	{ErrAuthWithoutRoot, codes.FailedPrecondition},
	{ErrForeignToken, codes.FailedPrecondition},
	{ErrFutureToken, codes.OutOfRange},
	{auth.ErrFull, codes.ResourceExhausted},
	{auth.ErrLongName, codes.InvalidArgument},
	{errAlarm, codes.InvalidArgument},
}

// errorDomain and the reasons are the machine-readable part of geogate's own errors (google.rpc.ErrorInfo).
const (
	errorDomain  = "geogate"
	reasonNotMet = "POLICY_NOT_MET"
	reasonClock  = "CLOCK_AHEAD"
	reasonBehind = "NOT_APPLIED"

	reasonNoHome       = "NO_HOME"
	reasonNotForwarded = "NOT_FORWARDED"
	reasonElsewhere    = "COMMITTED_AT_HOME"
	reasonSetAside     = "SET_ASIDE"
	reasonTooStale     = "TOO_STALE"
	reasonNoQuorum     = "NO_QUORUM"
	reasonCatchUp      = "CATCH_UP" // between gateways only

	infoKeyspace  = "keyspace"
	infoHome      = "home"
	infoRevision  = "revision"
	infoEpoch     = "epoch"
	infoWhy       = "why"
	infoEndpoints = "endpoints"

	infoOrigin       = "origin"
	infoStaleness    = "staleness"
	infoMaxStaleness = "max_staleness"

	infoToken   = "token"
	infoPolicy  = "policy"
	infoAckedBy = "acked_by"
)

// statusOf is the gRPC error of a domain error; one that is a gRPC status already is left alone.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok { // not wrapped: the text is the client's
		return err
	}
	var own interface {
		error
		status() error
	}
	if errors.As(err, &own) {
		return own.status()
	}
	for _, w := range wire {
		if errors.Is(err, w.domain) {
			return w.status
		}
	}
	for _, w := range worded {
		if errors.Is(err, w.domain) {
			return status.Error(w.code, "geogate: "+err.Error())
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return rpctypes.ErrGRPCDeadlineExceeded
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCCanceled
	}
	return status.Error(codes.Unknown, "geogate: "+err.Error())
}

// writeStatus is the gRPC error of a write. It never has a code of a context, even when the request's context
// ended here: a client whose own context still lives would repeat the write.
func writeStatus(err error) error {
	st := statusOf(err)
	switch status.Code(st) {
	case codes.DeadlineExceeded, codes.Canceled:
		return rpctypes.ErrGRPCTimeout
	}
	return st
}

// keepAliveStatus is the gRPC error that ends a stream of keepalives. etcd's client opens another one only after
// UNAVAILABLE; any other code ends its keepalives for good.
func keepAliveStatus(err error) error {
	if st := writeStatus(err); status.Code(st) == codes.Unavailable {
		return st
	}
	return status.Error(codes.Unavailable, rpctypes.ErrorDesc(statusOf(err)))
}

// readStatus is the gRPC error of a read: what is not known is worth another attempt, at another node too.
func readStatus(err error) error {
	st := statusOf(err)
	if status.Code(st) == codes.Unknown && !errors.Is(err, auth.ErrNoPasswordUser) {
		return status.Error(codes.Unavailable, "geogate: "+err.Error())
	}
	return st
}

// status adds to the text what a program needs to go on: the token to wait for and who has the write.
func (e *notMetError) status() error {
	st := status.New(codes.FailedPrecondition, "geogate: "+e.Error())
	if withInfo, err := st.WithDetails(&errdetails.ErrorInfo{
		Reason: reasonNotMet, Domain: errorDomain, Metadata: map[string]string{
			infoToken: e.receipt.Token.String(), infoPolicy: e.receipt.Policy.String(), infoAckedBy: joinNames(e.receipt.AckedBy),
		},
	}); err == nil {
		st = withInfo
	}
	return st.Err()
}

// notMetAckedBy reads back who had the write when another gateway gave up waiting.
func notMetAckedBy(err error) (ackedBy []string, ok bool) {
	st, isStatus := status.FromError(err)
	if !isStatus || st.Code() != codes.FailedPrecondition {
		return nil, false
	}
	for _, d := range st.Details() {
		if info, is := d.(*errdetails.ErrorInfo); is && info.Domain == errorDomain && info.Reason == reasonNotMet {
			return splitNames(info.Metadata[infoAckedBy]), true
		}
	}
	return nil, false
}

// isNotLeader says that the node that was asked did not lead and did nothing.
func isNotLeader(err error) bool {
	return rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(rpctypes.ErrGRPCNotLeader)
}

// retryable are the errors after which a write certainly was not made and may be tried at another node.
func retryable(err error) bool {
	return errors.Is(err, dc.ErrNotLeader) || errors.Is(err, dc.ErrSuperseded) || errors.Is(err, replication.ErrNotLeading)
}

// HTTPStatus is the HTTP code of a domain error or a gRPC status, as grpc-gateway maps codes.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	switch status.Code(statusOf(err)) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}
