package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/auth"
)

// Authentication that is off for want of a root user is told to who asks, not taken for off.
func TestAuthWithoutRootIsTold(t *testing.T) {
	s := newSite(t, 1, nil)
	c, ctx := s.client(0), testContext(t)
	if r, err := c.AuthStatus(ctx); err != nil || r.Enabled {
		t.Errorf("never enabled: %v, %v", r, err)
	}
	s.users.mu.Lock()
	s.users.entries["auth/enabled"] = auth.Entry{Name: "auth/enabled", Origin: "dc-b"} // as a frame of another datacenter leaves it
	s.users.rebuildLocked()
	s.users.mu.Unlock()
	if r, err := c.AuthStatus(ctx); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "no root user") {
		t.Errorf("without root: %v, %v", r, err)
	}
	st, err := c.Status(ctx, c.Endpoints()[0])
	if err != nil || !slices.ContainsFunc(st.Errors, func(e string) bool { return strings.Contains(e, "no root user") }) {
		t.Errorf("status: %v, %v", st, err)
	}
	if _, err := c.Put(ctx, "k", "v"); err != nil {
		t.Errorf("it is off: %v", err)
	}
}

// Who may do what with leases is as in etcd: to end or renew one, or to attach another key to it, takes the right to
// write all its keys; to list its keys that to read them; a lease without keys is anybody's who has logged in.
func TestLeasesOfUsers(t *testing.T) {
	s := newRealSite(t)
	root := s.client(0)
	ctx := patientContext(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(root.UserAdd(ctx, "root", "rootpw"))
	must(root.UserGrantRole(ctx, "root", "root"))
	for _, name := range []string{"ann", "bob"} {
		must(root.UserAdd(ctx, name, name+"pw"))
		must(root.RoleAdd(ctx, name))
		must(root.RoleGrantPermission(ctx, name, name+"/", name+"0", clientv3.PermissionType(clientv3.PermReadWrite)))
		must(root.UserGrantRole(ctx, name, name))
	}
	must(root.AuthEnable(ctx))
	as := func(name string) *clientv3.Client { return s.userClient(0, name, name+"pw") }
	root, ann, bob, nobody := as("root"), as("ann"), as("bob"), s.client(0)

	lease, err := ann.Grant(ctx, 60)
	must(lease, err)
	must(ann.Put(ctx, "ann/1", "", clientv3.WithLease(lease.ID)))
	denied := func(what string, want error, err error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	second := func(_ any, err error) error { return err }
	put := clientv3.OpPut("bob/1", "", clientv3.WithLease(lease.ID))
	denied("bob attaches", rpctypes.ErrPermissionDenied, second(bob.Do(ctx, put)))
	denied("bob attaches in a transaction", rpctypes.ErrPermissionDenied, second(bob.Txn(ctx).Then(put).Commit()))
	denied("bob revokes", rpctypes.ErrPermissionDenied, second(bob.Revoke(ctx, lease.ID)))
	denied("bob renews", rpctypes.ErrPermissionDenied, second(bob.KeepAliveOnce(ctx, lease.ID)))
	denied("bob lists the keys", rpctypes.ErrPermissionDenied, second(bob.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())))
	denied("bob lists the leases", rpctypes.ErrPermissionDenied, second(bob.Leases(ctx)))
	denied("nobody grants", rpctypes.ErrUserEmpty, second(nobody.Grant(ctx, 60)))
	denied("nobody revokes", rpctypes.ErrUserEmpty, second(nobody.Revoke(ctx, lease.ID)))
	denied("nobody renews", rpctypes.ErrUserEmpty, second(nobody.KeepAliveOnce(ctx, lease.ID)))
	denied("nobody asks", rpctypes.ErrUserEmpty, second(nobody.TimeToLive(ctx, lease.ID)))
	denied("nobody lists", rpctypes.ErrUserEmpty, second(nobody.Leases(ctx)))
	must(bob.TimeToLive(ctx, lease.ID))
	must(ann.KeepAliveOnce(ctx, lease.ID))
	must(ann.Leases(ctx))
	must(root.KeepAliveOnce(ctx, lease.ID))

	// A stream goes on without its token, and not without the right.
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	alive, err := pb.NewLeaseClient(ann.ActiveConnection()).LeaseKeepAlive(stop)
	must(alive, err)
	renew := func() error {
		if err := alive.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease.ID)}); err != nil {
			return err
		}
		_, err := alive.Recv()
		return rpctypes.Error(err)
	}
	if err := renew(); err != nil {
		t.Error(err)
	}
	must(root.UserChangePassword(ctx, "ann", "another")) // tokens of before are worth nothing
	if err := renew(); err != nil {
		t.Errorf("after the token had ended: %v", err)
	}
	must(root.RoleRevokePermission(ctx, "ann", "ann/", "ann0"))
	denied("ann renews without the right", rpctypes.ErrPermissionDenied, renew())
	must(root.Revoke(ctx, lease.ID))
}
