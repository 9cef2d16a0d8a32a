package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
)

// site is one datacenter of fake nodes with real gateways, connected over loopback.
type site struct {
	t     testing.TB
	data  *fakeData
	users *fakeUsers
	peers *fakePeers
	nodes []*node
	dcs   []*dc.DC // behind the nodes, where they are real

	mu    sync.Mutex
	cut   map[string]bool         // addresses that refuse connections. guarded by mu
	ports map[string]net.Listener // by address. guarded by mu
	conns []net.Conn              // guarded by mu
}

type node struct {
	*Server
	fake     fakeNode
	addr     string
	stop     func() error // once
	registry *prometheus.Registry
}

const waitLimit = 10 * time.Second

// newSite starts n nodes with ids 1 to n, of which 1 leads, and two peers of the datacenter.
func newSite(t testing.TB, n int, change func(*Config)) *site {
	t.Helper()
	s := &site{t: t, users: newFakeUsers(), data: newFakeData("dc-a", 1), cut: map[string]bool{}, ports: map[string]net.Listener{}}
	s.peers = newFakePeers(s.data, "dc-b", "dc-c")
	var members []Member
	for id := 1; id <= n; id++ {
		addr := fmt.Sprintf("node-%d:2379", id)
		s.ports[addr] = listen(t)
		members = append(members, Member{
			ID: uint64(id), Name: fmt.Sprintf("node-%d", id), ClientAddr: addr, ClientURLs: []string{"http://" + addr},
		})
	}
	for _, m := range members {
		s.start(m, members, change)
	}
	return s
}

// listen opens a port that is closed with the test at the latest.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (s *site) start(m Member, members []Member, change func(*Config)) {
	s.t.Helper()
	fake := fakeNode{s.data, m.ID}
	reg := prometheus.NewRegistry()
	cfg := Config{
		Listener: s.ports[m.ClientAddr], ClusterID: 42, MemberID: m.ID, Members: members,
		Datacenter: fake, Inspector: fake, Replication: fakeReplication{s.peers, fake}, Users: fakeUsersNode{s.users, fake}, BcryptCost: bcrypt.MinCost,
		Dialer: s.dial, Registerer: reg, LeaderLoss: 50 * time.Millisecond, StopTimeout: 5 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	s.nodes = append(s.nodes, &node{Server: srv, fake: fake, addr: m.ClientAddr, stop: stop, registry: reg})
	s.t.Cleanup(func() {
		if err := stop(); err != nil {
			s.t.Errorf("Run of %s: %v", m.Name, err)
		}
	})
}

func (s *site) dial(ctx context.Context, addr string) (net.Conn, error) {
	s.mu.Lock()
	l, cut := s.ports[addr], s.cut[addr]
	s.mu.Unlock()
	if cut || l == nil {
		return nil, errors.New("connection refused")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	if err == nil {
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
	}
	return conn, err
}

// breakConnections cuts every connection that is open now.
func (s *site) breakConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *site) sever(addr string, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[addr] = cut
}

// client is the real clientv3, connected to node i.
func (s *site) client(i int) *clientv3.Client {
	s.t.Helper()
	addr := s.nodes[i].addr
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"http://" + addr}, Logger: zap.NewNop(), DialOptions: s.dialOptions(i),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *site) dialOptions(i int) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return s.dial(ctx, s.nodes[i].addr)
	})}
}

// conn is a bare connection to node i.
func (s *site) conn(i int) *grpc.ClientConn {
	s.t.Helper()
	c, err := grpc.NewClient("passthrough:///"+s.nodes[i].addr, grpc.WithContextDialer(s.dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *site) kv(i int) pb.KVClient { return pb.NewKVClient(s.conn(i)) }

// testContext ends with the test, and long before go test gives up.
func testContext(t testing.TB, pairs ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(waitLimit)
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not within %s: %s", waitLimit, what)
		}
	}
}

func value(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) == 1 {
		return v[0]
	}
	return fmt.Sprintf("%q", md.Get(key))
}
