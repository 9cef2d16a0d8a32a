package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/dc/auth"
	"geogate/replication/policy"
)

// authServer is etcd's Auth service. It embeds the unsafe server so that a new RPC in the API fails to compile.
type authServer struct {
	pb.UnsafeAuthServer
	*Server
}

// authResponse is the response to a change.
type authResponse interface {
	proto.Message
	response
}

// changeAuth takes a change of users and roles through to its receipt: here, when this node leads, else at the
// leader's gateway. hash replaces passwords once the change is permitted.
//
// Unless the request asks for a policy it is ASYNC whatever the keyspaces say, and no RPO budget holds it back: to
// lock somebody out must work while a peer is down.
func changeAuth[R authResponse](ctx context.Context, s *Server, req *pb.InternalRaftRequest, hash func() error,
	remote func(pb.AuthClient, context.Context, ...grpc.CallOption) (R, error)) (R, error) {
	start := time.Now()
	op := operation[*pb.InternalRaftRequest, R]{
		method: methodAuth,
		local: func(_ Writer, ctx context.Context, q *pb.InternalRaftRequest) (R, dc.Commit, error) {
			var none R
			resp, made, err := s.cfg.Users.ChangeAuth(ctx, q)
			if err != nil {
				return none, made, err
			}
			return resp.(R), made, nil
		},
		remote: alone(func(ctx context.Context, conn grpc.ClientConnInterface, _ *pb.InternalRaftRequest, o ...grpc.CallOption) (R, error) {
			return remote(pb.NewAuthClient(conn), ctx, o...)
		}),
		check: func(s *Server, ctx context.Context, _ *pb.InternalRaftRequest) error {
			return s.authorize(ctx, ActionAdmin, nil, nil)
		},
	}
	var checked error
	if s.cfg.Users == nil {
		checked = status.Error(codes.Unimplemented, "geogate: this node keeps no users")
	}
	r, err := s.admit(ctx, checked, req, func() (rule, error) {
		r := s.keyspaces.root
		r.policy, r.lag = policy.Async, MaxLag{}
		return r, s.authorize(ctx, ActionAdmin, nil, nil)
	})
	if err == nil && hash != nil {
		err = hash()
	}
	return finish(ctx, s, &op, req, r, start, err)
}

func (a authServer) AuthEnable(ctx context.Context, r *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthEnable: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthEnableResponse, error) {
			return c.AuthEnable(ctx, r, o...)
		})
}

func (a authServer) AuthDisable(ctx context.Context, r *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthDisable: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthDisableResponse, error) {
			return c.AuthDisable(ctx, r, o...)
		})
}

func (a authServer) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	r = &pb.AuthUserAddRequest{Name: r.Name, Password: r.Password, Options: r.Options, HashedPassword: r.HashedPassword}
	if r.Options == nil {
		r.Options = &authpb.UserAddOptions{}
	}
	hash := func() (err error) {
		if !r.Options.NoPassword && !(isForwarded(ctx) && r.HashedPassword != "") {
			r.HashedPassword, err = a.passwords.hash(ctx, r.Password)
		}
		r.Password = "" // neither the log nor another node sees it
		return err
	}
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthUserAdd: r}, hash,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthUserAddResponse, error) {
			return c.UserAdd(ctx, r, o...)
		})
}

func (a authServer) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	r = &pb.AuthUserChangePasswordRequest{Name: r.Name, Password: r.Password, HashedPassword: r.HashedPassword}
	hash := func() (err error) {
		if r.Password != "" {
			r.HashedPassword, err = a.passwords.hash(ctx, r.Password)
		}
		r.Password = ""
		return err
	}
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthUserChangePassword: r}, hash,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthUserChangePasswordResponse, error) {
			return c.UserChangePassword(ctx, r, o...)
		})
}

func (a authServer) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthUserDelete: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthUserDeleteResponse, error) {
			return c.UserDelete(ctx, r, o...)
		})
}

func (a authServer) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthUserGrantRole: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthUserGrantRoleResponse, error) {
			return c.UserGrantRole(ctx, r, o...)
		})
}

func (a authServer) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthUserRevokeRole: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthUserRevokeRoleResponse, error) {
			return c.UserRevokeRole(ctx, r, o...)
		})
}

func (a authServer) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthRoleAdd: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthRoleAddResponse, error) {
			return c.RoleAdd(ctx, r, o...)
		})
}

func (a authServer) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthRoleDelete: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthRoleDeleteResponse, error) {
			return c.RoleDelete(ctx, r, o...)
		})
}

func (a authServer) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthRoleGrantPermission: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthRoleGrantPermissionResponse, error) {
			return c.RoleGrantPermission(ctx, r, o...)
		})
}

func (a authServer) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	return changeAuth(ctx, a.Server, &pb.InternalRaftRequest{AuthRoleRevokePermission: r}, nil,
		func(c pb.AuthClient, ctx context.Context, o ...grpc.CallOption) (*pb.AuthRoleRevokePermissionResponse, error) {
			return c.RoleRevokePermission(ctx, r, o...)
		})
}

// readAuth answers a question about users and roles from a state that has all changes made before.
func readAuth[R response](ctx context.Context, s *Server, read func(*auth.State, caller) (R, error)) (R, error) {
	return answerRead(ctx, s, methodReadAuth, time.Now(), func() error { return nil }, func(ctx context.Context) (R, error) {
		var none R
		if s.cfg.Users == nil {
			return none, status.Error(codes.Unimplemented, "geogate: this node keeps no users")
		}
		if err := s.cfg.Users.Linearize(ctx); err != nil {
			return none, err
		}
		c, err := s.caller(ctx)
		if err != nil {
			return none, err
		}
		st := c.state
		if st == nil {
			st = s.cfg.Users.Auth()
		}
		return read(st, c)
	})
}

func (a authServer) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return readAuth(ctx, a.Server, func(s *auth.State, _ caller) (*pb.AuthStatusResponse, error) {
		if s.Locked() { // "false" would look as if nobody had ever enabled it
			return nil, ErrAuthWithoutRoot
		}
		return &pb.AuthStatusResponse{Header: a.header(a.dc.Revision()), Enabled: s.Enabled, AuthRevision: s.Revision}, nil
	})
}

func (a authServer) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	return readAuth(ctx, a.Server, func(s *auth.State, c caller) (*pb.AuthUserGetResponse, error) {
		if err := c.may(ActionAdmin, nil, nil); err != nil && (c.name == "" || c.name != r.Name) {
			return nil, err
		}
		roles, err := s.RolesOf(r.Name)
		return &pb.AuthUserGetResponse{Header: a.header(a.dc.Revision()), Roles: roles}, err
	})
}

func (a authServer) UserList(ctx context.Context, _ *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	return readAuth(ctx, a.Server, func(s *auth.State, c caller) (*pb.AuthUserListResponse, error) {
		return &pb.AuthUserListResponse{Header: a.header(a.dc.Revision()), Users: s.Users()}, c.may(ActionAdmin, nil, nil)
	})
}

func (a authServer) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	return readAuth(ctx, a.Server, func(s *auth.State, c caller) (*pb.AuthRoleGetResponse, error) {
		if err := c.may(ActionAdmin, nil, nil); err != nil && !s.HasRole(c.name, r.Role) {
			return nil, err
		}
		perms, err := s.Permissions(r.Role)
		return &pb.AuthRoleGetResponse{Header: a.header(a.dc.Revision()), Perm: perms}, err
	})
}

func (a authServer) RoleList(ctx context.Context, _ *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	return readAuth(ctx, a.Server, func(s *auth.State, c caller) (*pb.AuthRoleListResponse, error) {
		return &pb.AuthRoleListResponse{Header: a.header(a.dc.Revision()), Roles: s.Roles()}, c.may(ActionAdmin, nil, nil)
	})
}

// Authenticate checks a password and gives a token. Users, hash and what the token names are of one state, so a
// password that changes meanwhile gives a token that is worth nothing. In a datacenter that has just received
// its users from another one it waits for the secret that tokens are signed with.
func (a authServer) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	resp, err := answerRead(ctx, a.Server, methodAuthenticate, time.Now(), func() error { return nil },
		func(ctx context.Context) (*pb.AuthenticateResponse, error) {
			if a.cfg.Users == nil {
				return nil, auth.ErrNotEnabled
			}
			if err := a.cfg.Users.Linearize(ctx); err != nil {
				return nil, err
			}
			st := a.users()
			for st != nil && len(st.Secret) == 0 && sleep(ctx, nil, routePauseMin) {
				st = a.users() // this datacenter's leader is about to make one
			}
			if st == nil {
				return nil, auth.ErrNotEnabled
			}
			if err := a.passwords.compare(ctx, st, r.Name, r.Password); err != nil {
				return nil, err
			}
			token, err := a.tokens.sign(st, r.Name, a.tokens.ttl)
			if err != nil {
				return nil, fmt.Errorf("user %q: %w", r.Name, err)
			}
			return &pb.AuthenticateResponse{Header: a.header(a.dc.Revision()), Token: token}, nil
		})
	if err != nil && a.users() != nil {
		a.log.Warn("login refused", "user", r.Name, "error", err)
	}
	return resp, err
}

// isOldRevision says that users and roles have changed between the check of a write and its commit.
func isOldRevision(err error) bool { return errors.Is(err, auth.ErrOldRevision) }
