package gateway

import (
	"context"
	"strings"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Downgrade says in etcd's words that there is nothing to go down to: etcd's versions are those of its storage,
// which is not this one. How an older geogate is put in place is a matter of its release.
func (m maintenanceServer) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	if err := m.authorize(ctx, ActionAdmin, nil, nil); err != nil {
		return nil, statusOf(err)
	}
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		if !isVersion(r.Version) {
			return nil, rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
		return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	case pb.DowngradeRequest_CANCEL:
		return nil, rpctypes.ErrGRPCNoInflightDowngrade
	}
	return nil, status.Error(codes.Unknown, "etcdserver: unknown method")
}

// isVersion takes 3.6 as well as 3.6.0, as etcd does.
func isVersion(v string) bool {
	if strings.Count(v, ".") == 1 {
		v += ".0"
	}
	_, err := semver.NewVersion(v)
	return err == nil
}
