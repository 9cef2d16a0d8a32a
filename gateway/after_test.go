package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// plain is a connection to node i that repeats nothing.
func (s *site) plain(i int) *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.nodes[i].addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(s.dial))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// afterCalls are the requests that wait; each returns what it found of the key a.
var afterCalls = map[string]func(context.Context, *grpc.ClientConn) (string, error){
	"Range": func(ctx context.Context, c *grpc.ClientConn) (string, error) {
		r, err := pb.NewKVClient(c).Range(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: true})
		return fmt.Sprint(len(r.GetKvs())), err
	},
	"RangeStream": func(ctx context.Context, c *grpc.ClientConn) (string, error) {
		stream, err := pb.NewKVClient(c).RangeStream(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: true})
		if err != nil {
			return "", err
		}
		r, err := stream.Recv()
		return fmt.Sprint(len(r.GetRangeResponse().GetKvs())), err
	},
	"read-only Txn": func(ctx context.Context, c *grpc.ClientConn) (string, error) {
		r, err := pb.NewKVClient(c).Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a"), Serializable: true}}},
		}})
		if err != nil {
			return "", err
		}
		return fmt.Sprint(len(r.Responses[0].GetResponseRange().Kvs)), nil
	},
	"Txn": func(ctx context.Context, c *grpc.ClientConn) (string, error) {
		r, err := pb.NewKVClient(c).Txn(ctx, &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_CREATE, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_CreateRevision{}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b")}}}},
		})
		return map[bool]string{true: "1", false: "0"}[r.GetSucceeded()], err
	},
	"Watch": func(ctx context.Context, c *grpc.ClientConn) (string, error) {
		stream, err := pb.NewWatchClient(c).Watch(ctx)
		if err != nil {
			return "", err
		}
		// An error is that of Recv: the stream may have ended before this is sent.
		_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}})
		r, err := stream.Recv()
		return fmt.Sprint(r.GetHeader().GetRevision() - 1), err
	},
}

func TestAfterWaitsForTheWrite(t *testing.T) {
	for name, call := range afterCalls {
		for node := range 2 { // the leader, and a node that forwards to it
			t.Run(fmt.Sprint(name, node), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, 2, nil)
				conn := s.plain(node)
				type outcome struct {
					found string
					err   error
				}
				done := make(chan outcome, 1)
				ctx := metadata.AppendToOutgoingContext(testContext(t), metaAfter, "dc-a:0:0, dc-b:0:7", metaAfter, "dc-c:0:0")
				go func() {
					found, err := call(ctx, conn)
					done <- outcome{found, err}
				}()
				s.data.apply("dc-b", 6, "other", "1") // not far enough
				select {
				case o := <-done:
					t.Fatalf("answered before the write was there: %v", o)
				case <-time.After(30 * time.Millisecond): // that nothing happens can't be waited for otherwise
				}
				s.data.apply("dc-b", 7, "a", "1")
				if o := <-done; o.err != nil || o.found != "1" && (name != "Watch" || o.found != "2") {
					t.Errorf("%v, want the key", o)
				}
			})
		}
	}
}

func TestAfterGivesUp(t *testing.T) {
	s := newSite(t, 2, func(c *Config) { c.RequestTimeout = 50 * time.Millisecond })
	writes := s.data.attempts()
	for name, call := range afterCalls {
		for node := range 2 {
			_, err := call(metadata.AppendToOutgoingContext(testContext(t), metaAfter, "dc-b:0:7"), s.plain(node))
			st := status.Convert(err)
			want := "geogate: nothing was read or written: dc-a has not applied dc-b:0:7 of geogate-after: it has applied dc-b up to 0, waited 50ms for it"
			if st.Code() != codes.FailedPrecondition || !strings.HasPrefix(st.Message(), want) {
				t.Errorf("%s at node %d: %v", name, node, err)
			}
			if info, ok := append(st.Details(), nil)[0].(*errdetails.ErrorInfo); !ok || info.Reason != reasonBehind || info.Metadata[infoToken] != "dc-b:0:7" {
				t.Errorf("%s at node %d: details %v", name, node, st.Details())
			}
		}
	}
	if now := s.data.attempts(); now != writes {
		t.Errorf("%d writes were tried", now-writes)
	}
}

func TestAfterThatIsNoToken(t *testing.T) {
	s := newSite(t, 1, nil)
	for _, bad := range []string{"", "dc-b", "dc-b:0:x", "dc-b:0:1,", strings.TrimSuffix(strings.Repeat("dc-a:0:0,", maxAfter+1), ",")} {
		for name, call := range afterCalls {
			_, err := call(metadata.AppendToOutgoingContext(testContext(t), metaAfter, bad), s.plain(0))
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), metaAfter) {
				t.Errorf("%s after %.20q: %v", name, bad, err)
			}
		}
	}
}

func TestAfterOverHTTP(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.RequestTimeout = 50 * time.Millisecond })
	s.data.apply("dc-b", 7, "a", "1")
	for after, want := range map[string]int{"dc-b:0:7": http.StatusOK, "dc-b:0:8": http.StatusBadRequest} {
		body := fmt.Sprintf(`{"key":%q}`, b64("a"))
		if code, _, fields := call(t, s.browser(0), "/v3/kv/range?after="+after, body); code != want {
			t.Errorf("?after=%s: %d %v", after, code, fields)
		}
		if code, _, fields := call(t, s.browser(0), "/v3/kv/range", body, "Geogate-After", after); code != want {
			t.Errorf("Geogate-After: %s: %d %v", after, code, fields)
		}
	}
}
