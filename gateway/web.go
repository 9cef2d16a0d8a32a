package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/gateway/jsonapi"
)

const (
	// headerTimeout is for the head of an HTTP request. Bodies have none: a watch's may stay open.
	headerTimeout = 10 * time.Second
	healthTimeout = 5 * time.Second
)

// web answers what is not gRPC on the client port. Its calls go to the gRPC server of the same process.
type web struct {
	*Server
	http *http.Server
	loop *grpc.ClientConn

	sockets sync.WaitGroup // websockets that are open
}

func newWeb(s *Server) (*web, error) {
	w := &web{Server: s}
	var err error
	w.loop, err = grpc.NewClient("passthrough:///this-node",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.split.Dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, fmt.Errorf("connection to this node's own gateway: %w", err)
	}
	handler, err := jsonapi.New(jsonapi.Config{
		Conn: w.loop, Version: s.cfg.Version, Health: w.health, Metrics: s.cfg.Metrics, MaxRequestBytes: s.cfg.MaxRequestBytes, Sockets: &w.sockets,
	})
	if err != nil {
		return nil, err
	}
	w.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return w, nil
}

// serve returns when the port is closed; it has no error of its own.
func (w *web) serve() { _ = w.http.Serve(w.split.HTTP()) }

// close cuts off what is left. Calls that gRPC let finish have finished by now; their answers get a moment.
func (w *web) close() {
	ctx, cancel := context.WithTimeout(context.Background(), w.cfg.StopTimeout)
	defer cancel()
	if w.killed() || w.http.Shutdown(ctx) != nil {
		_ = w.http.Close()
	}
	_ = w.loop.Close()
	w.sockets.Wait() // with the connection to gRPC their calls have ended
}

// health says why this node can't serve, in etcd's words. It reads past authorization and past the gateway: a
// probe has no user.
func (w *web) health(ctx context.Context, serializable bool, exclude []string) string {
	for _, a := range w.dc.Alarms() {
		if name := a.Alarm.String(); !slices.Contains(exclude, name) {
			return "ALARM " + name
		}
	}
	if w.dc.Leader() == 0 && !serializable {
		return "RAFT NO LEADER"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if _, err := w.dc.Range(ctx, &pb.RangeRequest{Key: []byte("health"), Serializable: serializable, CountOnly: true}); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}
