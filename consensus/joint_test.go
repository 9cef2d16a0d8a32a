package consensus

import (
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"geogate/consensus/pb"
)

// A joint change, which another build may have proposed, is applied on every node; Raft leaves it by itself. The
// group then changes, restarts and takes writes as any other.
func TestJointChange(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.put("before")
	g.sameMembers()
	s := &site{id: 0xabc, dir: t.TempDir() + "/node", disk: &disk{}, addr: freeAddr(t), joins: true}
	what := &pb.Change{Operation: pb.Change_OPERATION_ADD, Member: &pb.Member{Id: s.id, Addr: s.addr}, Nonce: 1}
	words, err := proto.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	data, err := (&raftpb.ConfChangeV2{
		Transition: raftpb.ConfChangeTransitionJointImplicit, Context: words,
		Changes: []raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeAddNode, NodeID: s.id}},
	}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	l := g.leader()
	proposal := raftpb.Message{Type: raftpb.MsgProp, From: l.id, To: l.id, Entries: []raftpb.Entry{{Type: raftpb.EntryConfChangeV2, Data: data}}}
	if err := l.node.transport.urgent.push(soon(t), proposal); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the joint change", func() bool {
		_, known := l.node.Membership().Member(s.id)
		return known
	})
	g.sites = append(g.sites, s)
	g.join(s)
	g.put("after")
	if m := g.sameMembers(); len(m.Members) != 4 {
		t.Fatalf("%+v", m)
	}
	eventually(t, "both halves on every node", func() bool {
		return !slices.ContainsFunc(g.sites[:3], func(s *site) bool { return s.app.joint() != "entered left" })
	})
	g.remove(s)
	for _, s := range g.sites[:3] {
		g.kill(s)
	}
	for _, s := range g.sites[:3] {
		g.start(s)
	}
	g.put("after a restart")
	if m := g.sameMembers(); len(m.Members) != 3 || !m.WasRemoved(s.id) {
		t.Fatalf("%+v", m)
	}
}

// joint tells in which order this state machine was told of a joint membership and its end.
func (a *app) joint() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.joints, " ")
}

// What Raft would do must be what the address book does, or the two count different members.
func TestChangesThatDoNotFit(t *testing.T) {
	add := func(id uint64) raftpb.ConfChangeSingle {
		return raftpb.ConfChangeSingle{Type: raftpb.ConfChangeAddNode, NodeID: id}
	}
	what := &pb.Change{Operation: pb.Change_OPERATION_ADD, Member: &pb.Member{Id: 4, Addr: "d:1"}}
	for name, x := range map[string]struct {
		cc   raftpb.ConfChangeV2
		what *pb.Change
		ok   bool
	}{
		"one change":         {raftpb.ConfChangeV2{Changes: []raftpb.ConfChangeSingle{add(4)}}, what, true},
		"the end of a joint": {raftpb.ConfChangeV2{}, nil, true},
		"two changes":        {raftpb.ConfChangeV2{Changes: []raftpb.ConfChangeSingle{add(4), add(5)}}, what, false},
		"another node":       {raftpb.ConfChangeV2{Changes: []raftpb.ConfChangeSingle{add(5)}}, what, false},
		"another change":     {raftpb.ConfChangeV2{Changes: []raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeRemoveNode, NodeID: 4}}}, what, false},
		"a learner":          {raftpb.ConfChangeV2{Changes: []raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeAddLearnerNode, NodeID: 4}}}, what, false},
		"no words":           {raftpb.ConfChangeV2{Changes: []raftpb.ConfChangeSingle{add(4)}}, nil, false},
		"words alone":        {raftpb.ConfChangeV2{}, what, false},
	} {
		if err := checkChange(&x.cc, x.what); (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
