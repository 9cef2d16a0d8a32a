package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"geogate/replication/policy"
)

// notMetError is [ErrNotMet] with what is known when the wait ended.
type notMetError struct {
	receipt policy.Receipt
	cause   error // why the wait ended, when it was not the timeout

	repeatable bool // the write has a request id
}

func (e *notMetError) Error() string {
	why := fmt.Sprintf("within %s", e.receipt.Elapsed.Round(time.Millisecond))
	if e.cause != nil {
		why = fmt.Sprintf("%s (%v)", why, e.cause)
	}
	t := e.receipt.Token
	next := "Do not repeat the write; wait for the token instead"
	if e.repeatable {
		next = "Wait for the token, or repeat the write with the same " + metaRequestID
	}
	will := "will still replicate"
	if t.Epoch > 0 {
		will += " unless a failover leaves it out before"
	}
	return fmt.Sprintf("the write is committed in %s as token %s and %s, but policy %s was not met %s; "+
		"it is committed in: %s. %s",
		t.Origin, t, will, e.receipt.Policy, why, joinNames(e.receipt.AckedBy), next)
}

func (e *notMetError) Is(target error) bool { return target == ErrNotMet }
func (e *notMetError) Unwrap() error        { return e.cause }

// setReceipt sends the receipt along with the answer, whether that is a response or an error.
func setReceipt(ctx context.Context, r policy.Receipt, changed bool) {
	pairs := receiptTrailer(r, changed)
	md := make(metadata.MD, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		md[pairs[i]] = pairs[i+1 : i+2 : i+2]
	}
	// The only error is a context without a stream, as in a call that did not come through grpc.
	_ = grpc.SetTrailer(ctx, md)
}

// receiptTrailer is a receipt as key, value, key, value.
func receiptTrailer(r policy.Receipt, changed bool) []string {
	pairs := []string{
		trailerToken, r.Token.String(), metaPolicy, r.Policy.String(),
		trailerAckedBy, joinNames(r.AckedBy), trailerAckMS, formatMillis(r.Elapsed),
	}
	if !changed {
		pairs = append(pairs, trailerChanged, "false")
	}
	return pairs
}

// acked puts the local datacenter, which always has the write, in front and names nobody twice.
func acked(local string, names []string) []string {
	out := make([]string, 1, len(names)+1)
	out[0] = local
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func joinNames(names []string) string { return strings.Join(names, ",") }

func splitNames(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// formatMillis is a decimal number of milliseconds with at most three digits behind the point.
func formatMillis(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', -1, 64)
}
