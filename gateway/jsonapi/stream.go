package jsonapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
		r = r.WithContext(ctx)
		r.Body = &requests{ReadCloser: r.Body, limit: limit, end: end}
		next.ServeHTTP(w, r)
	})
}

// decoding tells the body where a message begins, and ends the stream when one can't be read.
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
		}
		return err
	})
}

// streamError is the status with which a stream ends.
func streamError(ctx context.Context, err error) *status.Status {
	var bad badMessage
	if errors.As(context.Cause(ctx), &bad) {
		return status.New(codes.InvalidArgument, bad.Error())
	}
	return status.Convert(err)
}
