package gateway

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// fuzzLimit ends a call: a campaign, a lock or a watch may wait for ever.
	fuzzLimit = 250 * time.Millisecond
	// fuzzHang is when it should have ended for long.
	fuzzHang = 20 * time.Second
)

// rawCodec sends bytes as a message, and takes any answer.
type rawCodec struct{}

func (rawCodec) Name() string                    { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error { *v.(*[]byte) = b; return nil }

// fuzzServices are those whose requests are made up; health and reflection are grpc's own code.
var fuzzServices = []string{
	"etcdserverpb.KV", "etcdserverpb.Watch", "etcdserverpb.Lease", "etcdserverpb.Cluster", "etcdserverpb.Maintenance",
	"etcdserverpb.Auth", "v3lockpb.Lock", "v3electionpb.Election", "geogate.v1.Geo",
}

// fuzzMethods is every RPC of those, in an order that does not change: seeds name them by number.
func fuzzMethods(s *Server) (out []string) {
	for service, info := range s.grpc.GetServiceInfo() {
		if slices.Contains(fuzzServices, service) {
			for _, m := range info.Methods {
				out = append(out, "/"+service+"/"+m.Name)
			}
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}

// FuzzRPC sends any bytes as the request of any RPC to a gateway over a real datacenter of one node: KV, leases and
// users are real. Whatever comes, the process lives, the call ends, and an error has a code that etcd has for it.
func FuzzRPC(f *testing.F) {
	s := newRealSites(f, 1)
	s.leaderIndex()
	conn := s.conn(0)
	methods := fuzzMethods(s.nodes[0].Server)
	number := map[string]uint8{}
	for i, m := range methods {
		number[m] = uint8(i)
	}
	for method, requests := range fuzzSeeds() {
		n, ok := number[method]
		if !ok {
			f.Fatalf("there is no method %s", method)
		}
		for _, r := range requests {
			b, err := proto.Marshal(r)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(n, b, "")
		}
		delete(number, method)
	}
	for m, n := range number {
		f.Add(n, []byte{}, "1ns")
		f.Logf("%s has no seed but the empty one", m)
	}
	f.Fuzz(func(t *testing.T, n uint8, request []byte, meta string) {
		method := methods[int(n)%len(methods)]
		ctx, cancel := context.WithTimeout(withFuzzedMeta(t.Context(), meta), fuzzLimit)
		defer cancel()
		start := time.Now()
		err := send(ctx, conn, method, request)
		if took := time.Since(start); took > fuzzHang {
			t.Errorf("%s took %s", method, took)
		}
		judge(t, method, err)
		alive(t, conn)
	})
}

// withFuzzedMeta puts the text into each key of metadata that the gateway reads.
func withFuzzedMeta(ctx context.Context, text string) context.Context {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ctx // grpc lets nothing else through
	}
	md := metadata.MD{}
	for i, key := range []string{metaPolicy, metaTimeout, metaRequestID, "token", "authorization", metaForwarded} {
		if len(text)&(1<<i) != 0 {
			md.Set(key, text)
		}
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// send makes every call a stream, which on the wire it is.
func send(ctx context.Context, conn *grpc.ClientConn, method string, request []byte) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodec(rawCodec{}))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil && err != io.EOF {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var answer []byte
		if err := stream.RecvMsg(&answer); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// judge fails on codes that blame the server for what the client sent.
func judge(t *testing.T, method string, err error) {
	t.Helper()
	st := status.Convert(err)
	switch st.Code() {
	case codes.Unknown:
		switch {
		case strings.HasPrefix(method, "/v3lockpb."), strings.HasPrefix(method, "/v3electionpb."): // recipes answer so in etcd too
			return
		case strings.HasPrefix(method, "/etcdserverpb.Auth/"): // a password too long or no base64, as in etcd
			if !strings.HasPrefix(st.Message(), "geogate: ") {
				return
			}
		case strings.HasPrefix(st.Message(), "etcdserver: "): // etcd's own error without a code
			return
		}
	case codes.Internal:
		if strings.Contains(st.Message(), "unmarshal") || strings.Contains(st.Message(), "UTF-8") { // grpc's, before the gateway
			return
		}
	default:
		return
	}
	t.Errorf("%s: %v", method, err)
}

// alive says whether the node takes a write.
func alive(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fuzzHang)
	defer cancel()
	_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("alive")})
	switch status.Code(err) {
	case codes.OK:
	case codes.ResourceExhausted, codes.DataLoss, codes.InvalidArgument: // an alarm was raised, or users were asked for
	default:
		t.Fatalf("afterwards: %v", err)
	}
}
