package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestLevelOfARead(t *testing.T) {
	plain, applied, past := &pb.RangeRequest{Key: []byte("k")}, &pb.RangeRequest{Key: []byte("k"), Serializable: true}, &pb.RangeRequest{Key: []byte("k"), Revision: 2}
	for _, c := range []struct {
		md      []string
		request *pb.RangeRequest
		want    level
		max     time.Duration
		refused string // a part of the text
	}{
		{nil, plain, levelLinearizable, 0, ""},
		{nil, applied, levelLinearizable, 0, ""},
		{[]string{metaRead, "linearizable"}, plain, levelLinearizable, 0, ""},
		{[]string{metaRead, "Sequential"}, plain, levelSequential, 0, ""},
		{[]string{metaRead, "eventual"}, applied, levelEventual, 0, ""},
		{[]string{metaRead, "eventual"}, past, levelEventual, 0, ""},
		{[]string{metaRead, "QUORUM"}, plain, levelQuorum, 0, ""},
		{[]string{metaMaxStaleness, "1.5s"}, plain, levelBounded, 1500 * time.Millisecond, ""},
		{[]string{metaMaxStaleness, "1s"}, applied, levelBounded, time.Second, ""},

		{[]string{metaRead, "strong"}, plain, 0, 0, `"strong" is unknown; use one of linearizable, sequential, eventual, quorum, or geogate-max-staleness`},
		{[]string{metaRead, "bounded"}, plain, 0, 0, "is unknown"},
		{[]string{metaRead, ""}, plain, 0, 0, "is unknown"},
		{[]string{metaRead, "quorum", metaRead, "eventual"}, plain, 0, 0, "one level"},
		{[]string{metaRead, "eventual", metaMaxStaleness, "1s"}, plain, 0, 0, "one level"},
		{[]string{metaMaxStaleness, "0s"}, plain, 0, 0, "is not a time above 0"},
		{[]string{metaMaxStaleness, "-1s"}, plain, 0, 0, "is not a time above 0"},
		{[]string{metaMaxStaleness, "2"}, plain, 0, 0, "is not a time above 0"},
		{[]string{metaRead, "quorum"}, applied, 0, 0, "drop one of the two"},
		{[]string{metaRead, "linearizable"}, applied, 0, 0, "drop one of the two"},
		{[]string{metaRead, "quorum"}, past, 0, 0, "drop one of the two"},
		{[]string{metaMaxStaleness, "1s"}, past, 0, 0, "drop one of the two"},
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(c.md...))
		as, err := readingOf(ctx)
		if err == nil {
			err = as.suits(c.request)
		}
		if c.refused != "" {
			if !errors.Is(err, ErrMetadata) || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%q of %v: %v, want %s", c.md, c.request, err, c.refused)
			}
			continue
		}
		if err != nil || as.level != c.want || as.max != c.max {
			t.Errorf("%q of %v: %v, %v", c.md, c.request, as, err)
		}
	}
}

// What can't be is refused by every call, with a code that nobody repeats.
func TestRefusedLevels(t *testing.T) {
	s := newSite(t, 2, nil)
	key := []byte("k")
	get := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key, Revision: 1}}}
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key}}}
	writes := s.data.attempts()
	for node := range 2 {
		kv := s.kv(node)
		for what, call := range map[string]func() error{
			"unknown": func() error {
				_, err := kv.Range(testContext(t, metaRead, "any"), &pb.RangeRequest{Key: key})
				return err
			},
			"quorum of the past": func() error {
				_, err := kv.Txn(testContext(t, metaRead, "quorum"), &pb.TxnRequest{Success: []*pb.RequestOp{get}})
				return err
			},
			"bounded transaction that may write": func() error {
				_, err := kv.Txn(testContext(t, metaMaxStaleness, "1s"), &pb.TxnRequest{Failure: []*pb.RequestOp{put}})
				return err
			},
			"eventual transaction that may write": func() error {
				_, err := kv.Txn(testContext(t, metaRead, "eventual"), &pb.TxnRequest{Success: []*pb.RequestOp{put}})
				return err
			},
			"serializable stream": func() error {
				stream, err := kv.RangeStream(testContext(t, metaRead, "quorum"), &pb.RangeRequest{Key: key, Serializable: true})
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			},
		} {
			if err := call(); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s at node %d: %v", what, node, err)
			}
		}
	}
	if n := s.data.attempts(); n != writes {
		t.Errorf("%d writes were tried", n-writes)
	}
}
