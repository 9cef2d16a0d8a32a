package jsonapi

import (
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"geogate/gateway/electionpb"
	"geogate/gateway/lockpb"
)

// headerPrefix is that of geogate's own metadata, as an HTTP header and as a trailer.
const headerPrefix = "geogate-"

// Config is what the handler needs.
type Config struct {
	Conn    *grpc.ClientConn // to the gateway of this node
	Version string           // as in Maintenance.Status: digits.digits.digits

	// Health says why this node can't serve, or nothing.
	Health func(ctx context.Context, serializable bool, exclude []string) (reason string)
	// Metrics answers /metrics; nil: not found.
	Metrics http.Handler

	// MaxRequestBytes bounds a request as gRPC sees it; a body may have twice that, for base64 and spaces.
	MaxRequestBytes int

	// Sockets counts the websockets that are open, which http.Server does not.
	Sockets *sync.WaitGroup
}

// services are etcd's: most as its own package maps them to paths, locks and elections by the same paths from here.
var services = []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
	gw.RegisterKVHandler, gw.RegisterWatchHandler, gw.RegisterLeaseHandler,
	gw.RegisterClusterHandler, gw.RegisterMaintenanceHandler, gw.RegisterAuthHandler,
	lockpb.RegisterLockHandler, electionpb.RegisterElectionHandler,
}

// New builds the handler of everything that is not gRPC on the client port.
func New(c Config) (http.Handler, error) {
	calls := runtime.NewServeMux(
		// As in etcd: names as in the .proto, zero values left out, unknown fields ignored.
		runtime.WithMarshalerOption(runtime.MIMEWildcard, decoding{&runtime.HTTPBodyMarshaler{
			Marshaler: &runtime.JSONPb{
				MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
				UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
			},
		}}),
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithForwardResponseOption(receipt),
		runtime.WithErrorHandler(writeError),
		runtime.WithStreamErrorHandler(streamError),
	)
	for _, register := range services {
		// The context ends nothing: the handlers live as long as the connection.
		if err := register(context.Background(), calls, c.Conn); err != nil {
			return nil, fmt.Errorf("JSON over HTTP: %w", err)
		}
	}
	mux := http.NewServeMux()
	limit := 2 * int64(c.MaxRequestBytes)
	mux.Handle("/v3/", sockets(limited(overrides(calls), limit), limit, c.Sockets))
	mux.Handle("GET /version", version(c.Version))
	mux.Handle("GET /health", health(c.Health))
	if c.Metrics != nil {
		mux.Handle("GET /metrics", c.Metrics)
	}
	return mux, nil
}

// overrides lets ?policy=, ?timeout=, ?after=, ?read= and ?max-staleness= stand for the headers, which not every client can set.
func overrides(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			query := r.URL.Query()
			for _, name := range [...]string{"policy", "timeout", "after", "read", "max-staleness"} {
				if query.Has(name) {
					r.Header.Set(headerPrefix+name, query.Get(name))
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// incoming passes geogate's own headers on as the metadata of the same name.
func incoming(header string) (metadata string, ok bool) {
	if name := strings.ToLower(header); strings.HasPrefix(name, headerPrefix) {
		return name, true
	}
	return runtime.DefaultHeaderMatcher(header)
}

// setReceipt makes headers of geogate's own trailers: HTTP clients rarely look at trailers.
func setReceipt(ctx context.Context, w http.ResponseWriter) {
	md, _ := runtime.ServerMetadataFromContext(ctx)
	for name, values := range md.TrailerMD {
		if strings.HasPrefix(name, headerPrefix) {
			w.Header()[textproto.CanonicalMIMEHeaderKey(name)] = values
		}
	}
}
