package jsonapi

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestABadMessageEndsTheStreamFirst: the decoder's caller ends its side of the stream when it gets the error, and the server then
// may end the stream well before the client of it sees that it was canceled.
func TestABadMessageEndsTheStreamFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		over, decoded := make(chan struct{}), make(chan error, 1)
		body := &requests{ReadCloser: io.NopCloser(strings.NewReader("}")), limit: 1 << 10, end: end, over: over}
		go func() { decoded <- decoding{&runtime.JSONPb{}}.NewDecoder(body).Decode(&pb.WatchRequest{}) }()
		<-ctx.Done()
		if bad := (badMessage{}); !errors.As(context.Cause(ctx), &bad) {
			t.Errorf("the stream ended with %v, want what was bad", context.Cause(ctx))
		}
		synctest.Wait()
		select {
		case err := <-decoded:
			t.Fatalf("the decoder returned %v before the stream was over", err)
		default:
		}
		close(over)
		if err := <-decoded; err == nil {
			t.Error("a bad message has no error")
		}
	})
}
