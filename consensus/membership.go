package consensus

import (
	"cmp"
	"fmt"
	"slices"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"geogate/consensus/pb"
)

// Member is one node of the group as all nodes know it.
type Member struct {
	ID      uint64 // non-zero, never used again for another disk
	Addr    string // host:port of its Raft transport
	Learner bool   // it follows the log and does not vote

	// What a node says of itself. A member without a name was added and has not started yet.
	Name       string
	ClientURLs []string
	Admin      string // host:port
	NATS       string // host:port; may be empty
}

// Started says whether the member's node has ever run.
func (m *Member) Started() bool { return m.Name != "" }

func (m *Member) saysTheSame(o *Member) bool {
	return m.Name == o.Name && m.Admin == o.Admin && m.NATS == o.NATS && slices.Equal(m.ClientURLs, o.ClientURLs)
}

// Membership is who belongs to the group from an index of the log on. It is never changed once it is made.
type Membership struct {
	Index   uint64   // of the entry that set it
	Members []Member // ascending by ID
	Removed []uint64 // in the order of their removal; never used again
}

// newMembership is that of a group that is founded.
func newMembership(index uint64, members []Member) *Membership {
	m := &Membership{Index: index, Members: slices.Clone(members)}
	m.sort()
	return m
}

func (m *Membership) sort() {
	slices.SortFunc(m.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
}

// Member finds a member.
func (m *Membership) Member(id uint64) (*Member, bool) {
	i := slices.IndexFunc(m.Members, func(x Member) bool { return x.ID == id })
	if i < 0 {
		return nil, false
	}
	return &m.Members[i], true
}

// WasRemoved says whether a node with this id was a member once and never will be again.
func (m *Membership) WasRemoved(id uint64) bool { return slices.Contains(m.Removed, id) }

// at finds the member with a Raft address.
func (m *Membership) at(addr string) (*Member, bool) {
	i := slices.IndexFunc(m.Members, func(x Member) bool { return x.Addr == addr })
	if i < 0 {
		return nil, false
	}
	return &m.Members[i], true
}

func (m *Membership) learners() (n int) {
	for _, x := range m.Members {
		if x.Learner {
			n++
		}
	}
	return n
}

// votersStarted counts the voters, and those of them that have ever run, without one member.
func (m *Membership) votersStarted(except uint64) (started, voters int) {
	for i := range m.Members {
		x := &m.Members[i]
		if x.Learner || x.ID == except {
			continue
		}
		voters++
		if x.Started() {
			started++
		}
	}
	return started, voters
}

// next is the membership after a change, which was checked before it was proposed: the leader proposes one
// only while it knows of all before it. So what does not fit here was not written by this code.
func (m *Membership) next(index uint64, c *pb.Change) (*Membership, error) {
	n := &Membership{Index: index, Members: slices.Clone(m.Members), Removed: slices.Clone(m.Removed)}
	if c == nil { // the second half of a joint change
		return n, nil
	}
	id := c.Member.GetId()
	at := slices.IndexFunc(n.Members, func(x Member) bool { return x.ID == id })
	if (at < 0) != (c.Operation == pb.Change_OPERATION_ADD) {
		return nil, fmt.Errorf("%w: membership change at index %d, %s of node %x, does not fit the members before it", ErrBroken, index, c.Operation, id)
	}
	switch c.Operation {
	case pb.Change_OPERATION_ADD:
		n.Members = append(n.Members, Member{ID: id, Addr: c.Member.Addr, Learner: c.Member.Learner})
	case pb.Change_OPERATION_PROMOTE:
		n.Members[at].Learner = false
	case pb.Change_OPERATION_REMOVE:
		n.Members = slices.Delete(n.Members, at, at+1)
		n.Removed = append(n.Removed, id)
	case pb.Change_OPERATION_MOVE:
		n.Members[at].Addr = c.Member.Addr
	case pb.Change_OPERATION_PUBLISH:
		said := memberFromProto(c.Member)
		said.ID, said.Addr, said.Learner = id, n.Members[at].Addr, n.Members[at].Learner
		n.Members[at] = said
	default:
		return nil, fmt.Errorf("%w: membership change at index %d is of kind %d, which this build does not know: upgrade this node", ErrBroken, index, c.Operation)
	}
	n.sort()
	return n, nil
}

// encodeConf is what the state machine, snapshots and the log keep: Raft's own words, and behind them who the
// numbers are. Either reader skips the other's fields.
func encodeConf(conf *raftpb.ConfState, m *Membership) ([]byte, error) {
	b, err := conf.Marshal()
	if err != nil || m == nil {
		return b, err
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, membershipToProto(m))
}

// decodeConf reads it back. The membership is nil when an older build wrote it.
func decodeConf(b []byte) (conf raftpb.ConfState, m *Membership, err error) {
	if err := conf.Unmarshal(b); err != nil {
		return conf, nil, err
	}
	var p pb.Membership
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &p); err != nil {
		return conf, nil, err
	}
	return conf, membershipFromProto(&p), nil
}

func membershipToProto(m *Membership) *pb.Membership {
	p := &pb.Membership{Index: m.Index, Removed: m.Removed}
	for i := range m.Members {
		p.Members = append(p.Members, memberToProto(&m.Members[i]))
	}
	return p
}

// membershipFromProto is nil when nobody is in it.
func membershipFromProto(p *pb.Membership) *Membership {
	if len(p.GetMembers()) == 0 {
		return nil
	}
	m := &Membership{Index: p.Index, Removed: p.Removed}
	for _, x := range p.Members {
		m.Members = append(m.Members, memberFromProto(x))
	}
	return m
}

func memberToProto(m *Member) *pb.Member {
	return &pb.Member{Id: m.ID, Addr: m.Addr, Learner: m.Learner, Name: m.Name, ClientUrls: m.ClientURLs, Admin: m.Admin, Nats: m.NATS}
}

func memberFromProto(p *pb.Member) Member {
	return Member{ID: p.GetId(), Addr: p.GetAddr(), Learner: p.GetLearner(), Name: p.GetName(), ClientURLs: p.GetClientUrls(), Admin: p.GetAdmin(), NATS: p.GetNats()}
}
