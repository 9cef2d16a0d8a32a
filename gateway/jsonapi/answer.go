package jsonapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func receipt(ctx context.Context, w http.ResponseWriter, _ proto.Message) error {
	setReceipt(ctx, w)
	return nil
}

// failure is the body of an error: what etcd 3.5 answers (error, code, message), which older clients read, and
// so also what etcd 3.6 and later answer (code, message).
type failure struct {
	Error   string            `json:"error"`
	Code    codes.Code        `json:"code"` // of gRPC
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details,omitempty"`
}

// writeError answers with the HTTP code that grpc-gateway gives to the gRPC code.
func writeError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	code := 0
	var routing *runtime.HTTPStatusError
	if errors.As(err, &routing) {
		err, code = routing.Err, routing.HTTPStatus
	}
	st := status.Convert(err)
	if code == 0 {
		code = runtime.HTTPStatusFromCode(st.Code())
	}
	if st.Code() == codes.Unauthenticated {
		w.Header().Set("WWW-Authenticate", st.Message())
	}
	setReceipt(ctx, w)
	writeJSON(w, code, failure{
		Error: st.Message(), Code: st.Code(), Message: st.Message(), Details: shown(st.Proto()),
	})
}

// shown are the details of a status; those of a type that this build does not know can't be shown.
func shown(st *spb.Status) (out []json.RawMessage) {
	for _, d := range st.GetDetails() {
		if raw, err := protojson.Marshal(d); err == nil {
			out = append(out, raw)
		}
	}
	return out
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(raw) // the client has gone
}
