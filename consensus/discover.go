package consensus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"geogate/consensus/pb"
)

// discoverPause is between two rounds of asking.
const discoverPause = 200 * time.Millisecond

// Discovery is what a node needs to find its place in a group that it is to join.
type Discovery struct {
	ClusterID uint64
	Addr      string        // of this node, as it was given to AddMember
	Ask       []string      // Raft addresses of members
	TLS       *tls.Config   // as in Config
	Timeout   time.Duration // 10 s when zero
	Logger    *slog.Logger  // nil: off
}

// Discover asks members of a group until one of them knows a member with this node's address, and returns the id
// that the group gave it, and all members. ErrNotListed means that members answered, and none knows the address.
func Discover(ctx context.Context, d Discovery) (uint64, []Member, error) {
	if d.Timeout == 0 {
		d.Timeout = 10 * time.Second
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	conns := make(map[string]*grpc.ClientConn, len(d.Ask))
	for _, addr := range d.Ask {
		c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(transportCredentials(d.TLS)), grpc.WithNoProxy())
		if err != nil {
			return 0, nil, fmt.Errorf("%w: address %q to ask for members: %w", ErrConfig, addr, err)
		}
		defer c.Close() //nolint:errcheck // only asked
		conns[addr] = c
	}
	d.Logger.Info("asking for this node's place in the group", "raft_addr", d.Addr, "ask", d.Ask)
	var problem error
	for {
		problem = nil
		for _, addr := range d.Ask {
			m, err := d.ask(ctx, conns[addr])
			if err != nil {
				if problem == nil { // an answer without this node says more
					problem = fmt.Errorf("member at %s: %s", addr, status.Convert(err).Message())
				}
				continue
			}
			if me, ok := m.at(d.Addr); ok {
				return me.ID, m.Members, nil
			}
			problem = fmt.Errorf("%w: %s answers that the members have the Raft addresses %s; add this node with its address %s first",
				ErrNotListed, addr, m.addrs(), d.Addr)
			break
		}
		select {
		case <-ctx.Done():
			return 0, nil, fmt.Errorf("ask %s for this node's place in the group: %w (gave up after %s)", strings.Join(d.Ask, ", "), errors.Join(problem, context.Cause(ctx)), d.Timeout)
		case <-time.After(discoverPause):
		}
	}
}

func (d *Discovery) ask(ctx context.Context, c *grpc.ClientConn) (*Membership, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := pb.NewPeerClient(c).Members(ctx, &pb.MembersRequest{Hello: &pb.Hello{Version: wireVersion, ClusterId: d.ClusterID}})
	if err != nil {
		return nil, err
	}
	m := membershipFromProto(answer.Membership)
	if m == nil {
		return nil, errors.New("it knows no members")
	}
	return m, nil
}

func (m *Membership) addrs() string {
	all := make([]string, len(m.Members))
	for i := range m.Members {
		all[i] = m.Members[i].Addr
	}
	return strings.Join(all, ", ")
}

// Identity says whose log a directory holds.
type Identity struct {
	ClusterID uint64
	NodeID    uint64
	Name      string // "" from an older build
	Joined    bool   // the node joined a group; its id was given to it
}

// ReadIdentity reads it without opening the log; ok is false when there is no log yet.
func ReadIdentity(dir string) (id Identity, ok bool, err error) {
	path := filepath.Join(dir, "wal")
	segments, err := listSegments(path)
	if err != nil || len(segments) == 0 {
		return id, false, err
	}
	b, err := firstIdentity(filepath.Join(path, segments[0].name))
	if err != nil || b == nil {
		return id, false, err
	}
	var p pb.Identity
	if err := proto.Unmarshal(b, &p); err != nil || p.NodeId == 0 {
		return id, false, fmt.Errorf("%w: %s does not say whose log it is; restore it, or %s", ErrDamaged, path, replaceNode)
	}
	return Identity{ClusterID: p.ClusterId, NodeID: p.NodeId, Name: p.Name, Joined: p.Joined}, true, nil
}
