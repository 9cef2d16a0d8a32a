package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication"
)

func TestFencedClockRefusesWrites(t *testing.T) {
	s := newSite(t, 2, nil)
	kv := s.kv(1) // follows: the leader's clock counts
	if _, err := putFor(testContext(t), kv, "a"); err != nil {
		t.Fatal(err)
	}
	s.peers.update(func() { s.peers.fence = fmt.Errorf("%w: 1h0m0s ahead", replication.ErrClockAhead) })
	before := s.data.attempts()
	_, err := putFor(testContext(t), kv, "a")
	st, _ := status.FromError(err)
	if st.Code() != codes.FailedPrecondition || s.data.attempts() != before ||
		st.Message() != "geogate: nothing was written: this node's clock is ahead: 1h0m0s ahead" {
		t.Errorf("got %v after %d attempts", err, s.data.attempts()-before)
	}
	if info, ok := st.Details()[0].(*errdetails.ErrorInfo); !ok || info.Reason != "CLOCK_AHEAD" || info.Domain != "geogate" {
		t.Errorf("details %v", st.Details())
	}
	if _, notMet := notMetAckedBy(err); notMet {
		t.Error("taken for a write that was made")
	}
	_, err = putFor(testContext(t, metaRequestID, "x"), kv, "a")
	if err == nil || !strings.Contains(err.Error(), "nothing was written by this attempt") {
		t.Errorf("with a request id: %v", err)
	}
	if n := counted(t, s.nodes[0].metrics.fenceRefused); n != 2 {
		t.Errorf("counted %v", n)
	}
	// Nothing else is refused.
	if _, err := kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("a")}); err != nil {
		t.Error(err)
	}
	if _, err := kv.Compact(testContext(t), &pb.CompactionRequest{Revision: 1}); err != nil {
		t.Error(err)
	}
	// A real client hands it on at once.
	if _, err := s.client(0).Put(testContext(t), "a", "b"); err == nil || !strings.Contains(err.Error(), "clock is ahead") {
		t.Errorf("clientv3: %v", err)
	}
	if n := counted(t, s.nodes[0].metrics.fenceRefused); n != 3 {
		t.Errorf("clientv3 asked %v times", n-2)
	}
	s.peers.update(func() { s.peers.fence = nil })
	if _, err := putFor(testContext(t), kv, "a"); err != nil {
		t.Error(err)
	}
}

func TestClockErrorIsKnown(t *testing.T) {
	err := error(&clockError{cause: fmt.Errorf("%w: by an hour", replication.ErrClockAhead)})
	if !errors.Is(err, replication.ErrClockAhead) || status.Code(writeStatus(err)) != codes.FailedPrecondition {
		t.Errorf("%v is %v", err, writeStatus(err))
	}
}
