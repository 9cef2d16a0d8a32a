package jsonapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// streams are the paths whose body is a stream of requests. It may go on for ever; a single message in it is
// bounded as the body of any other request is.
var streams = map[string]bool{"/v3/watch": true, "/v3/lease/keepalive": true}

// badMessage ends a stream whose client sent something that can't be read. grpc-gateway on its own would stop
// reading and leave the client waiting.
type badMessage struct{ error }

// requests is the body of such a stream. Only the goroutine that decodes uses it.
type requests struct {
	io.ReadCloser
	limit, used int64 // bytes a message, bytes since the last one began
	end         context.CancelCauseFunc
	over        <-chan struct{} // closed when the stream was answered to its end
}

func (r *requests) Read(p []byte) (int, error) {
	if r.used > r.limit {
		return 0, fmt.Errorf("a message of the request is larger than %d bytes", r.limit)
	}
	n, err := r.ReadCloser.Read(p)
	r.used += int64(n)
	return n, err
}

// limited bounds what one request may make this node hold.
func limited(next http.Handler, limit int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !streams[r.URL.Path] {
			r.Body = http.MaxBytesReader(w, r.Body, limit)
			next.ServeHTTP(w, r)
			return
		}
		// Without it the first answer would throw away what of the body was not read yet. A writer that can't
		// do it has no body left to lose: HTTP/2 is always duplex.
		_ = http.NewResponseController(w).EnableFullDuplex()
		ctx, end := context.WithCancelCause(r.Context())
		defer end(nil)
		over := make(chan struct{})
		defer close(over)
		r = r.WithContext(ctx)
		r.Body = &requests{ReadCloser: r.Body, limit: limit, end: end, over: over}
		next.ServeHTTP(w, r)
	})
}

// decoding tells the body where a message begins, and ends the stream when one can't be read. What it encodes
// differs in the error at the end of a stream alone.
type decoding struct{ runtime.Marshaler }

func (d decoding) NewDecoder(from io.Reader) runtime.Decoder {
	inner := d.Marshaler.NewDecoder(from)
	body, ok := from.(*requests)
	if !ok {
		return inner
	}
	return runtime.DecoderFunc(func(v any) error {
		body.used = 0
		err := inner.Decode(v)
		if err != nil && !errors.Is(err, io.EOF) {
			body.end(badMessage{err})
			<-body.over // who decodes says next that nothing more comes, and a stream that ends well would hide the error
		}
		return err
	})
}

// ended is the last message of a stream that failed: what grpc-gateway 2 and so etcd since 3.6 answers (code,
// message, details), and the names that grpc-gateway 1 had (grpc_code, http_code, http_status), which Patroni reads.
type ended struct {
	GRPCCode   codes.Code        `json:"grpc_code"`
	HTTPCode   int               `json:"http_code"`
	HTTPStatus string            `json:"http_status"`
	Code       codes.Code        `json:"code"`
	Message    string            `json:"message"`
	Details    []json.RawMessage `json:"details,omitempty"`
}

// Marshal gives the error of a stream all its names; everything else is the inner marshaler's.
func (d decoding) Marshal(v any) ([]byte, error) {
	chunk, ok := v.(map[string]proto.Message)
	if !ok {
		return d.Marshaler.Marshal(v)
	}
	st, ok := chunk["error"].(*spb.Status)
	if !ok {
		return d.Marshaler.Marshal(v)
	}
	code := codes.Code(st.GetCode()) //nolint:gosec // a gRPC code, made by this process
	status := runtime.HTTPStatusFromCode(code)
	return json.Marshal(map[string]ended{"error": {
		GRPCCode: code, HTTPCode: status, HTTPStatus: http.StatusText(status),
		Code: code, Message: st.GetMessage(), Details: shown(st),
	}})
}

// streamError is the status with which a stream ends.
func streamError(ctx context.Context, err error) *status.Status {
	var bad badMessage
	if errors.As(context.Cause(ctx), &bad) {
		return status.New(codes.InvalidArgument, bad.Error())
	}
	return status.Convert(err)
}
