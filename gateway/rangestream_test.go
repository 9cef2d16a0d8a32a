package gateway

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// pages asks node 0 for a stream of a range.
func (s *site) pages(req *pb.RangeRequest, metadata ...string) (pages []*pb.RangeResponse, err error) {
	stream, err := s.kv(0).RangeStream(testContext(s.t, metadata...), req)
	if err != nil {
		return nil, err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return pages, nil
		}
		if err != nil {
			return pages, err
		}
		pages = append(pages, r.RangeResponse)
	}
}

func TestRangeStream(t *testing.T) {
	s := newRealSite(t)
	ctx := testContext(t)
	for i := range 25 {
		if _, err := putFor(ctx, s.kv(0), fmt.Sprintf("k%02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	pages, err := s.pages(&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), SortOrder: pb.RangeRequest_ASCEND}, "hasleader", "true")
	if err != nil || len(pages) != 2 || len(pages[0].Kvs) != 10 || len(pages[1].Kvs) != 15 {
		t.Fatal(pages, err)
	}
	h := pages[1].Header
	if pages[0].Header != nil || pages[1].Count != 25 || h.ClusterId != 42 || h.MemberId != 1 || h.RaftTerm == 0 || h.Revision != 26 {
		t.Errorf("headers %v and %v, count %d", pages[0].Header, h, pages[1].Count)
	}
	for want, reqs := range map[codes.Code][]*pb.RangeRequest{
		codes.Unimplemented: {
			{Key: []byte("k"), RangeEnd: []byte("l"), SortOrder: pb.RangeRequest_DESCEND},
			{Key: []byte("k"), RangeEnd: []byte("l"), SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_MOD},
			{Key: []byte("k"), RangeEnd: []byte("l"), MinModRevision: 3},
			{Key: []byte("k"), RangeEnd: []byte("l"), MaxCreateRevision: 3},
		},
		codes.InvalidArgument: {{}, {Key: []byte("k"), SortOrder: 9}},
		codes.OutOfRange:      {{Key: []byte("k"), Revision: 99}},
	} {
		for _, req := range reqs {
			if pages, err := s.pages(req); status.Code(err) != want || len(pages) != 0 {
				t.Errorf("%v: %v, %v; want %s", req, pages, err, want)
			}
		}
	}
}

func TestRangeStreamWithoutALeader(t *testing.T) {
	s := newSite(t, 1, nil)
	s.data.lead(0)
	eventually(t, "a refusal", func() bool {
		_, err := s.pages(&pb.RangeRequest{Key: []byte("k")}, "hasleader", "true")
		return status.Code(err) == codes.Unavailable
	})
	if _, err := s.pages(&pb.RangeRequest{Key: []byte("k"), Serializable: true}); err != nil {
		t.Errorf("serializable: %v", err)
	}
}
