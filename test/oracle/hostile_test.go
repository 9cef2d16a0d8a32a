package oracle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// hostile is a request that no honest client sends.
type hostile struct {
	name   string
	method string // as on the wire
	send   any    // a message, or the bytes of one that proto.Marshal would refuse
	md     []string
	stream bool
	differ *answer // what geogate answers where that is not etcd's answer
	why    string  // and the reason
	deadly bool    // etcd's process ends over it, so that only geogate is asked
}

// answer is the outcome of a call as a client sees it; see norm for the text.
type answer struct {
	code codes.Code
	text string
}

func (a answer) String() string { return fmt.Sprintf("%s %q", a.code, a.text) }

// anything is the codec of requests that are bytes already, and of answers that nobody looks into.
type anything struct{}

func (anything) Name() string { return "proto" }

func (anything) Marshal(v any) ([]byte, error) {
	if raw, ok := v.([]byte); ok {
		return raw, nil
	}
	return proto.Marshal(v.(proto.Message))
}

func (anything) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = b
	return nil
}

// TestHostileRequests sends what may be missing, oversized or contradictory in every RPC to a real etcd and to a
// datacenter of one node. Code and text must be the same, and both must still work afterwards.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	etcd := etcdbin.New(t, 1)
	c := cluster.Start(t, cluster.Options{DCs: []string{"us-east"}})
	theirs, err := dial("etcd", etcd.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	ours, err := dial("geogate", c.Node("us-east", "n0").Spec.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(theirs.close(), ours.close()); err != nil {
			t.Error(err)
		}
	}()
	compared := 0
	for _, table := range [][]hostile{hostileKV(), hostileTxns(), hostileLeases(), hostileMembers(), hostileMaintenance(), hostileRecipes(), hostileUsers(), hostileWatches()} {
		for _, h := range table {
			got := h.ask(t, ours)
			if h.deadly {
				if got != *h.differ {
					t.Errorf("%s: geogate answers %s, want %s", h.name, got, h.differ)
				}
				continue
			}
			want := h.ask(t, theirs)
			if h.differ != nil {
				if got != *h.differ {
					t.Errorf("%s: geogate answers %s, want %s: %s", h.name, got, h.differ, h.why)
				}
				if want == *h.differ {
					t.Errorf("%s: etcd answers the same (%s): this is no difference", h.name, want)
				}
			} else if got != want {
				t.Errorf("%s: geogate answers %s, etcd %s", h.name, got, want)
			}
			compared++
		}
	}
	t.Logf("compared %d requests", compared)
}

// ask sends the request, and makes an answer of the outcome. A stream's is what comes of its first messages.
func (h *hostile) ask(t *testing.T, s *server) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), h.md...), 10*time.Second)
	defer cancel()
	var reply []byte
	var err error
	if h.stream {
		err = h.open(ctx, s, &reply)
	} else {
		err = s.conn.Invoke(ctx, h.method, h.send, &reply, grpc.ForceCodec(anything{}))
	}
	st := status.Convert(err)
	return answer{st.Code(), norm(st.Message())}
}

func (h *hostile) open(ctx context.Context, s *server, reply *[]byte) error {
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := s.conn.NewStream(ctx, desc, h.method, grpc.ForceCodec(anything{}))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(h.send); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(reply)
}

// norm leaves out what grpc's versions say differently, and the space that protobuf makes another one in every second
// program, so that nobody relies on its texts.
func norm(text string) string {
	text = strings.ReplaceAll(text, "\u00a0", " ")
	if i := strings.Index(text, "grpc: received message larger than max"); i >= 0 {
		return text[i:]
	}
	for _, made := range []string{"grpc: failed to unmarshal the received message: ", "grpc: error unmarshalling request: "} {
		text = strings.TrimPrefix(text, made) // grpc's wording differs between its versions
	}
	return text
}
