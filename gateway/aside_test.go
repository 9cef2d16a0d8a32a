package gateway

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/gateway/geopb"
	"geogate/replication/homes"
)

// A failover that does not count a write ends the wait for its policy, and every question about its token.
func TestWriteSetAside(t *testing.T) {
	for _, confirmed := range []bool{false, true} {
		t.Run(fmt.Sprintf("confirmed %t", confirmed), func(t *testing.T) { writeSetAside(t, confirmed) })
	}
}

func writeSetAside(t *testing.T, confirmed bool) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	f.confirms = confirmed
	ctx := testContext(t)
	a := f.sites["dc-a"]
	must(t)(a.kv(0).Put(ctx, singlePut("k", "counts")))
	cut := a.dc.Position("dc-a").Revision
	f.update(func() { f.cut[[2]string{"dc-a", "dc-b"}], f.cut[[2]string{"dc-a", "dc-c"}] = true, true })
	var trailer metadata.MD
	answer := make(chan error, 1)
	go func() {
		_, err := a.kv(0).Put(metadata.AppendToOutgoingContext(ctx, metaPolicy, "QUORUM", metaTimeout, "8s"), singlePut("k", "does not"), grpc.Trailer(&trailer))
		answer <- err
	}()
	eventually(t, "it is committed", func() bool { return a.dc.Position("dc-a").Revision > cut })
	f.update(func() {
		old := f.homes[fedSpace]
		f.homes[fedSpace] = homes.Value{Epoch: 2, Home: f.life("dc-b"), Past: append(slices.Clone(old.Past), homes.Tenure{Epoch: 1, Home: old.Home, Cut: cut})}
		f.homes["/other/"] = homes.Value{Epoch: 3, Home: f.life("dc-b")} // else the token could be of a write there
	})
	check := func(what string, err error) {
		t.Helper()
		info := infoOf(err, reasonSetAside)
		if status.Code(err) != codes.FailedPrecondition || info[infoKeyspace] != fedSpace || info[infoHome] != "dc-b" || info[infoEpoch] != "2" {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("the write", <-answer)
	if value(trailer, trailerToken) == "" {
		t.Errorf("no token: %v", trailer)
	}
	token := fmt.Sprintf("dc-a:1:%d", a.dc.Position("dc-a").Revision)
	for _, name := range []string{"dc-a", "dc-b"} {
		_, err := geopb.NewGeoClient(f.sites[name].conn(0)).Wait(ctx, &geopb.WaitRequest{Token: token, Policy: "ASYNC"})
		check("Wait at "+name, err)
		_, err = f.sites[name].kv(0).Range(metadata.AppendToOutgoingContext(ctx, metaAfter, token), &pb.RangeRequest{Key: []byte("k"), Serializable: true})
		check("after at "+name, err)
	}
	counts := fmt.Sprintf("dc-a:1:%d", cut)
	if _, err := geopb.NewGeoClient(a.conn(0)).Wait(ctx, &geopb.WaitRequest{Token: counts, Policy: "ASYNC"}); err != nil {
		t.Errorf("a write up to the cut: %v", err)
	}
}

// The home asks the permissions of another datacenter's client once more.
func TestUsersElsewhere(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b")
	ctx := testContext(t)
	root := f.client("dc-a")
	must(t)(root.RoleAdd(ctx, "root"))
	must(t)(root.UserAdd(ctx, "root", "r"))
	must(t)(root.UserGrantRole(ctx, "root", "root"))
	must(t)(root.RoleAdd(ctx, "writer"))
	must(t)(root.RoleGrantPermission(ctx, "writer", fedSpace, clientv3.GetPrefixRangeEnd(fedSpace), clientv3.PermissionType(clientv3.PermReadWrite)))
	for _, name := range []string{"alice", "bob"} {
		must(t)(root.UserAdd(ctx, name, name))
	}
	must(t)(root.UserGrantRole(ctx, "alice", "writer"))
	must(t)(root.AuthEnable(ctx))
	f.caughtUp("dc-b", "dc-a")
	login := func(dc, name, password string) *clientv3.Client {
		t.Helper()
		s := f.sites[dc]
		c, err := clientv3.New(clientv3.Config{
			Endpoints: []string{"http://" + s.nodes[0].addr}, Logger: zap.NewNop(), DialOptions: s.dialOptions(0), Username: name, Password: password,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	alice, bob := login("dc-b", "alice", "alice"), login("dc-b", "bob", "bob")
	if _, err := alice.Put(ctx, fedSpace+"k", "1"); err != nil {
		t.Errorf("who may: %v", err)
	}
	if _, err := bob.Put(ctx, fedSpace+"k", "1"); status.Convert(err).Message() != rpctypes.ErrorDesc(rpctypes.ErrGRPCPermissionDenied) {
		t.Errorf("who may not: %v", err)
	}
	if _, err := alice.Get(ctx, fedSpace+"k"); err != nil {
		t.Errorf("read: %v", err)
	}
	// What the home has revoked counts, whether it has arrived here or not.
	f.update(func() { f.cut[[2]string{"dc-a", "dc-b"}] = true })
	rootHere := login("dc-a", "root", "r")
	must(t)(rootHere.UserRevokeRole(ctx, "alice", "writer"))
	if _, err := alice.Put(ctx, fedSpace+"k", "2"); rpctypes.ErrorDesc(rpctypes.Error(err)) != rpctypes.ErrorDesc(rpctypes.ErrPermissionDenied) {
		t.Errorf("revoked at the home: %v", err)
	}
	// A forger's metadata is worth nothing: the user of a call is in the call.
	forged := metadata.AppendToOutgoingContext(context.Background(), callUser, "root")
	if _, err := f.sites["dc-a"].kv(0).Put(forged, singlePut("k", "3")); status.Code(err) != codes.InvalidArgument {
		t.Errorf("forged: %v", err)
	}
}
