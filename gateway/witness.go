package gateway

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A witness votes on the homes of single-writer keyspaces and holds no data. What it can be asked for is its own
// state: health, status, the members of its group.

// witnessOptions refuse everything else. FAILED_PRECONDITION, because no client tries that again: the endpoint is
// wrong, and whoever configured it should hear of it.
func (s *Server) witnessOptions() []grpc.ServerOption {
	served := []string{"/etcdserverpb.Maintenance/", "/etcdserverpb.Cluster/", "/grpc.health.", "/grpc.reflection."}
	refuse := func(method string) error {
		for _, prefix := range served {
			if strings.HasPrefix(method, prefix) {
				return nil
			}
		}
		return status.Errorf(codes.FailedPrecondition,
			"geogate: datacenter %s is a witness: it votes on homes of keyspaces and holds no data; %s is not served here, take the endpoint out of the client's list", s.name, method)
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := refuse(info.FullMethod); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := refuse(info.FullMethod); err != nil {
				return err
			}
			return next(srv, stream)
		}),
	}
}
