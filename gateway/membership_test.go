package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"geogate/dc"
)

// fakeMembers is a membership that all nodes of a site share; the one that leads may change it.
type fakeMembers struct {
	mu      *sync.Mutex
	members *[]Member
	moved   *[]uint64
	refuse  *error // what the next change is answered with
	leading func() bool
}

func (f fakeMembers) Members() []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(*f.members)
}

func (f fakeMembers) Linearize(context.Context) error { return nil }

func (f fakeMembers) change(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.leading() {
		return fmt.Errorf("%w: not here", dc.ErrNotLeader)
	}
	if err := *f.refuse; err != nil {
		return err
	}
	return do()
}

func (f fakeMembers) edit(id uint64, do func(*Member)) error {
	return f.change(func() error {
		i := slices.IndexFunc(*f.members, func(m Member) bool { return m.ID == id })
		if i < 0 {
			return fmt.Errorf("%w: %x", dc.ErrMemberNotFound, id)
		}
		do(&(*f.members)[i])
		return nil
	})
}

func (f fakeMembers) AddMember(_ context.Context, addr string, learner bool) (id uint64, err error) {
	return 99, f.change(func() error {
		*f.members = append(*f.members, Member{ID: 99, PeerURLs: []string{"http://" + addr}, Learner: learner})
		return nil
	})
}

func (f fakeMembers) PromoteMember(_ context.Context, id uint64) error {
	return f.edit(id, func(m *Member) { m.Learner = false })
}

func (f fakeMembers) RemoveMember(_ context.Context, id uint64) error {
	return f.change(func() error {
		*f.members = slices.DeleteFunc(*f.members, func(m Member) bool { return m.ID == id })
		return nil
	})
}

func (f fakeMembers) MoveMember(_ context.Context, id uint64, addr string) error {
	return f.edit(id, func(m *Member) { m.PeerURLs = []string{"http://" + addr} })
}

func (f fakeMembers) TransferLeadership(_ context.Context, to uint64) error {
	return f.change(func() error {
		*f.moved = append(*f.moved, to)
		return nil
	})
}

// memberSite is a site of three whose membership can be changed.
func memberSite(t *testing.T) (*site, fakeMembers) {
	t.Helper()
	f := fakeMembers{mu: &sync.Mutex{}, members: &[]Member{}, moved: &[]uint64{}, refuse: new(error)}
	s := newSite(t, 3, func(c *Config) {
		*f.members = c.Members
		here, data := f, c.Datacenter
		here.leading = func() bool { _, ok := data.Leading(); return ok }
		c.Membership, c.Members = here, nil
	})
	return s, f
}

// Any node takes a change, and the answer lists the members as etcd's does.
func TestMembersAreChangedThroughAnyNode(t *testing.T) {
	s, f := memberSite(t)
	ctx := testContext(t)
	for i := range 3 {
		c := pb.NewClusterClient(s.conn(i))
		add, err := c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://h:1"}, IsLearner: true})
		if err != nil || add.Member.ID != 99 || !add.Member.IsLearner || len(add.Members) != 4 || add.Header.ClusterId != 42 || add.Header.Revision != 0 {
			t.Fatalf("through node %d: %v, %v", i, add, err)
		}
		promote, err := c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 99})
		if err != nil || promote.Members[3].IsLearner {
			t.Errorf("through node %d: %v, %v", i, promote, err)
		}
		update, err := c.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 99, PeerURLs: []string{"http://h:2"}})
		if err != nil || update.Members[3].PeerURLs[0] != "http://h:2" {
			t.Errorf("through node %d: %v, %v", i, update, err)
		}
		list, err := c.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		if err != nil || len(list.Members) != 4 || list.Members[0].Name != "node-1" {
			t.Errorf("through node %d: %v, %v", i, list, err)
		}
		remove, err := c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 99})
		if err != nil || len(remove.Members) != 3 {
			t.Errorf("through node %d: %v, %v", i, remove, err)
		}
	}
	if n := len(f.Members()); n != 3 {
		t.Errorf("%d members at the end", n)
	}
}

// Clients tell refusals apart by etcd's texts, also when another node forwarded them.
func TestRefusedChangesHaveEtcdsErrors(t *testing.T) {
	s, f := memberSite(t)
	ctx := testContext(t)
	for _, node := range []int{0, 1} { // node 1, at index 0, leads
		c := pb.NewClusterClient(s.conn(node))
		for domain, want := range map[error]error{
			dc.ErrMemberExists: rpctypes.ErrGRPCMemberExist, dc.ErrMemberAddrExists: rpctypes.ErrGRPCPeerURLExist,
			dc.ErrTooManyLearners: rpctypes.ErrGRPCTooManyLearners, dc.ErrNotEnoughStarted: rpctypes.ErrGRPCMemberNotEnoughStarted,
			dc.ErrUnhealthy: rpctypes.ErrGRPCUnhealthy, dc.ErrLearnerBehind: rpctypes.ErrGRPCLearnerNotReady,
			dc.ErrMemberNotLearner: rpctypes.ErrGRPCMemberNotLearner, dc.ErrMemberNotFound: rpctypes.ErrGRPCMemberNotFound,
		} {
			f.mu.Lock()
			*f.refuse = fmt.Errorf("%w: because", domain)
			f.mu.Unlock()
			if _, err := c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://h:1"}}); !errors.Is(err, want) {
				t.Errorf("node %d: %v answers %v, want %v", node, domain, err, want)
			}
		}
		for _, urls := range [][]string{nil, {"http://a:1", "http://b:1"}, {"h:1"}, {"ftp://h:1"}, {"http://h"}, {"http://h:1/path"}} {
			if _, err := c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls}); !errors.Is(err, rpctypes.ErrGRPCMemberBadURLs) {
				t.Errorf("peer URLs %q: %v", urls, err)
			}
			if _, err := c.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 1, PeerURLs: urls}); !errors.Is(err, rpctypes.ErrGRPCMemberBadURLs) {
				t.Errorf("peer URLs %q: %v", urls, err)
			}
		}
	}
}

func TestMoveLeader(t *testing.T) {
	s, f := memberSite(t)
	ctx := testContext(t)
	move := func(node int, to uint64) error {
		_, err := pb.NewMaintenanceClient(s.conn(node)).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: to})
		return err
	}
	if err := move(1, 2); !errors.Is(err, rpctypes.ErrGRPCNotLeader) {
		t.Errorf("asked elsewhere: %v", err)
	}
	if err := move(0, 77); !errors.Is(err, rpctypes.ErrGRPCBadLeaderTransferee) {
		t.Errorf("to a stranger: %v", err)
	}
	if err := f.setLearner(3); err != nil {
		t.Fatal(err)
	}
	if err := move(0, 3); !errors.Is(err, rpctypes.ErrGRPCBadLeaderTransferee) {
		t.Errorf("to a learner: %v", err)
	}
	if err := move(0, 2); err != nil || !slices.Equal(*f.moved, []uint64{2}) {
		t.Errorf("%v, moved to %v", err, *f.moved)
	}
}

func (f fakeMembers) setLearner(id uint64) error {
	f.leading = func() bool { return true }
	return f.edit(id, func(m *Member) { m.Learner = true })
}

// A write is forwarded to a leader that joined after this node had started.
func TestWritesGoToALeaderThatJoined(t *testing.T) {
	s, f := memberSite(t)
	const addr = "node-9:2379"
	s.mu.Lock()
	s.ports[addr] = listen(t)
	s.mu.Unlock()
	joined := Member{ID: 9, Name: "node-9", ClientAddr: addr, ClientURLs: []string{"http://" + addr}}
	f.mu.Lock()
	*f.members = append(*f.members, joined)
	f.mu.Unlock()
	s.start(joined, []Member{joined}, nil)
	s.data.lead(9)
	if _, err := s.kv(1).Put(testContext(t), &pb.PutRequest{Key: []byte("a"), Value: []byte("b")}); err != nil {
		t.Error(err)
	}
}
