package gateway

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// authServer says that etcd's users and roles are not in use. Clients that come with a name and a password
// take exactly this error of Authenticate as leave to go on without.
type authServer struct {
	pb.UnimplementedAuthServer
	*Server
}

func (a authServer) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Header: a.header(a.dc.Revision()), AuthRevision: 1}, nil
}

func (a authServer) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}
