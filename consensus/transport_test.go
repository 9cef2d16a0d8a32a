package consensus

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"geogate/consensus/pb"
	"geogate/test/certs"
)

func TestReceiverRefusesStrangers(t *testing.T) {
	g := newGroup(t, 3, nil)
	leader := g.leader()
	conn, err := grpc.NewClient("passthrough:///"+leader.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other := g.follower(leader).id
	good := func() *pb.Hello { return &pb.Hello{Version: 1, ClusterId: ourCluster, From: other, To: leader.id} }
	for _, c := range []struct {
		name    string
		hello   *pb.Hello
		message *raftpb.Message
		want    codes.Code
		words   string
	}{
		{"no hello", nil, nil, codes.InvalidArgument, "hello"},
		{"other group", &pb.Hello{ClusterId: 8, From: other, To: leader.id}, nil, codes.FailedPrecondition, "group 8"},
		{"other node", &pb.Hello{ClusterId: ourCluster, From: other, To: 99}, nil, codes.FailedPrecondition, "wants node 63"},
		{"stranger", &pb.Hello{ClusterId: ourCluster, From: 99, To: leader.id}, nil, codes.FailedPrecondition, "not among"},
		{"the node itself", &pb.Hello{ClusterId: ourCluster, From: leader.id, To: leader.id}, nil, codes.FailedPrecondition, "not among"},
		{"proposal", good(), &raftpb.Message{Type: raftpb.MsgProp, From: other, To: leader.id}, codes.InvalidArgument, "MsgProp"},
		{"local message", good(), &raftpb.Message{Type: raftpb.MsgHup, From: other, To: leader.id}, codes.InvalidArgument, "MsgHup"},
		{"another's message", good(), &raftpb.Message{Type: raftpb.MsgHeartbeat, From: 42, To: leader.id}, codes.InvalidArgument, "message from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, err := pb.NewPeerClient(conn).Messages(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := st.Send(&pb.Envelope{Hello: c.hello}); err != nil {
				t.Fatal(err)
			}
			if c.message != nil {
				b, err := c.message.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := st.Recv(); err != nil {
					t.Fatal(err)
				}
				if err := st.Send(&pb.Envelope{Messages: [][]byte{b}}); err != nil {
					t.Fatal(err)
				}
			}
			_, err = st.Recv()
			if status.Code(err) != c.want || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %v with %q", err, c.want, c.words)
			}
		})
	}
}

// Three nodes over TLS 1.3 with certificates on both sides; a fourth party without one gets no answer.
func TestMutualTLS(t *testing.T) {
	conf := certs.Mutual(t)
	g := newGroup(t, 3, func(c *Config) { c.TLS = conf })
	g.put("x")
	g.everywhere(g.leader())
	conn, err := tls.Dial("tcp", g.sites[0].addr, &tls.Config{RootCAs: conf.RootCAs, NextProtos: []string{"h2"}})
	if err != nil {
		return // refused already
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a client without a certificate was answered")
	}
}

func TestMailboxBounds(t *testing.T) {
	message := func(n int) raftpb.Message {
		return raftpb.Message{Entries: []raftpb.Entry{{Data: make([]byte, n)}}}
	}
	b := newMailbox(3, 1000)
	if !b.offer(message(5000), 3) {
		t.Error("a large message does not fit into an empty mailbox")
	}
	if b.offer(message(1), 3) {
		t.Error("a message fits behind a large one")
	}
	pushed := make(chan error, 1)
	go func() { pushed <- b.push(t.Context(), message(1)) }()
	if got := b.take(1); len(got) != 1 {
		t.Errorf("took %d messages, want the large one", len(got))
	}
	if err := <-pushed; err != nil {
		t.Error(err)
	}
	b.offer(message(1), 3)
	b.offer(message(1), 3)
	if b.offer(message(1), 3) {
		t.Error("four messages in a mailbox for three")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.push(ctx, message(1)); err == nil {
		t.Error("pushed into a full mailbox")
	}
	if got := b.take(1 << 20); len(got) != 3 {
		t.Errorf("took %d messages, want 3", len(got))
	}
	b.offer(message(1), 3)
	b.clear()
	if got := b.take(1); got != nil {
		t.Errorf("took %d messages from a cleared mailbox", len(got))
	}
}

// Messages come out as they went in, whatever is given back meanwhile.
func TestMailboxReusesItsMemory(t *testing.T) {
	b := newMailbox(1000, 1<<20)
	in, out := uint64(0), uint64(0)
	put := func(n int) {
		for range n {
			in++
			if !b.offer(raftpb.Message{Index: in, Context: make([]byte, 10)}, 1000) {
				t.Fatal("no room")
			}
		}
	}
	take := func(limit int) []raftpb.Message {
		taken := b.take(limit)
		for _, m := range taken {
			if out++; m.Index != out {
				t.Fatalf("message %d after %d", m.Index, out-1)
			}
		}
		return taken
	}
	for i := range 200 {
		put(i % 7)
		first := take(1 + i%50) // a part, mostly
		put(i % 3)
		second := take(20)
		b.done(first)
		put(1)
		b.done(second)
	}
	for b.queue != nil {
		b.done(take(1 << 20))
	}
	if in != out {
		t.Errorf("%d messages went in, %d came out", in, out)
	}
}
