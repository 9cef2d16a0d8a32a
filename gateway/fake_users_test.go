package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/dc/auth"
	"geogate/replication/event"
)

// fakeUsers is the users and roles of one datacenter, in memory; the rules are the real ones.
type fakeUsers struct {
	mu       sync.Mutex
	entries  map[string]auth.Entry // guarded by mu, as all below
	stamp    event.Stamp
	revision uint64
	state    *auth.State
	behind   map[uint64]*auth.State // what nodes show that have not applied the newest changes
	asked    []string               // all that reached the log, as text
}

func newFakeUsers() *fakeUsers {
	u := &fakeUsers{entries: map[string]auth.Entry{}, revision: 1, behind: map[uint64]*auth.State{}}
	u.rebuildLocked()
	return u
}

func (u *fakeUsers) rebuildLocked() {
	var all []auth.Entry
	for _, e := range u.entries {
		all = append(all, e)
	}
	u.state = auth.NewState(all, u.revision, []byte("a secret of the datacenter"))
}

func (u *fakeUsers) Names(prefix string) (names []string) {
	for name := range u.entries {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (u *fakeUsers) Has(name string) bool { _, ok := u.entries[name]; return ok }

// apply makes a change as the log would.
func (u *fakeUsers) apply(r *pb.InternalRaftRequest) (proto.Message, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = append(u.asked, r.String())
	c, err := auth.Evaluate(u.state, u, r)
	if err != nil {
		return nil, err
	}
	u.stamp++
	for _, e := range c.Edits {
		if delete(u.entries, e.Name); !e.Delete {
			u.entries[e.Name] = auth.Entry{Name: e.Name, Value: e.Value, Stamp: u.stamp, Origin: "dc-a"}
		}
	}
	if c.Bumps {
		u.revision++
	}
	u.rebuildLocked()
	return c.Response, nil
}

// freeze makes a node show what it shows now until it catches up.
func (u *fakeUsers) freeze(node uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.behind[node] = u.state
}

// log is all that reached the log.
func (u *fakeUsers) log() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Join(u.asked, "\n")
}

// fakeUsersNode is one node's view.
type fakeUsersNode struct {
	*fakeUsers
	node fakeNode
}

func (n fakeUsersNode) Auth() *auth.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.behind[n.node.id]; s != nil {
		return s
	}
	return n.state
}

func (n fakeUsersNode) Linearize(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.behind, n.node.id)
	return nil
}

func (n fakeUsersNode) ChangeAuth(_ context.Context, r *pb.InternalRaftRequest) (resp proto.Message, c dc.Commit, err error) {
	rev, c, err := n.node.write(func(b *fakeBatch) (err error) {
		resp, err = n.apply(r)
		return err
	})
	if err != nil {
		return nil, c, err
	}
	m := resp.ProtoReflect()
	m.Mutable(m.Descriptor().Fields().ByName("header"))
	resp.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader().Revision = rev
	return resp, c, nil
}

// rooted turns authentication on, with user root, password rootpw.
func (s *site) rooted(t *testing.T) {
	t.Helper()
	c, ctx := s.client(0), testContext(t)
	for _, err := range []error{
		second(c.UserAdd(ctx, "root", "rootpw")), second(c.UserGrantRole(ctx, "root", "root")), second(c.AuthEnable(ctx)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
