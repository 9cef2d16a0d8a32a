package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"geogate/cmd/status"
	"geogate/configs"
	ports "geogate/test/etcdbin/process"
)

// fakeNode has an admin port that says whatever health its cluster has, and nothing else.
type fakeNode struct {
	health   *health
	report   status.Report
	listener net.Listener
	killed   chan struct{}
	fail     chan error
}

// health is what all fake nodes of a test say of their peers.
type health struct {
	mu    sync.Mutex
	word  string
	nodes map[string]*fakeNode // running, by dc/node
}

func (h *health) set(word string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.word = word
}

func (h *health) node(name string) *fakeNode {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.nodes[name]
}

func (h *health) open(t *configs.Topology, dc, node string) (Node, error) {
	d, _ := t.Datacenter(dc)
	n, _ := d.Node(node)
	l, err := net.Listen("tcp", n.Admin)
	if err != nil {
		return nil, err
	}
	f := &fakeNode{health: h, listener: l, killed: make(chan struct{}), fail: make(chan error, 1),
		report: status.Report{DC: dc, Node: node, Leader: d.Nodes[len(d.Nodes)-1].Name}}
	for _, name := range t.Names() {
		if name != dc {
			f.report.Peers = append(f.report.Peers, status.Peer{DC: name})
		}
	}
	return f, nil
}

func (f *fakeNode) Run(ctx context.Context) error {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := f.report
		r.Peers = slices.Clone(r.Peers)
		f.health.mu.Lock()
		for i := range r.Peers {
			r.Peers[i].Health, r.Peers[i].Reason = f.health.word, "as the test says"
		}
		f.health.mu.Unlock()
		_ = json.NewEncoder(w).Encode(r)
	}), ReadHeaderTimeout: time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(f.listener)
	}()
	name := f.report.DC + "/" + f.report.Node
	f.health.mu.Lock()
	f.health.nodes[name] = f
	f.health.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
	case <-f.killed:
		err = errors.New("killed")
	case err = <-f.fail:
	}
	_ = srv.Close()
	<-served
	f.health.mu.Lock()
	delete(f.health.nodes, name)
	f.health.mu.Unlock()
	return err
}

func (f *fakeNode) Kill() { close(f.killed) }

// basePort finds room for the ports of n datacenters.
func basePort(t *testing.T, n int) int {
	t.Helper()
	first, err := ports.PortRange(n * portsPerDC)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// start opens and runs a cluster of fake nodes; what it returns stops it and gives Run's error.
func start(t *testing.T, c Config) (*Cluster, *health, func() error) {
	t.Helper()
	h := &health{word: "healthy", nodes: map[string]*fakeNode{}}
	if c.Open == nil {
		c.Open = h.open
	}
	cl, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cl.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, cl.Close())
	})
	t.Cleanup(func() { _ = stop() })
	return cl, h, stop
}

func ready(t *testing.T, cl *Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := WaitReady(ctx, cl.Topology(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestCluster(t *testing.T) {
	dir, base := t.TempDir(), basePort(t, 2)
	cl, h, stop := start(t, Config{Dir: dir, DCs: []string{"a", "b"}, Nodes: 3, BasePort: base})
	ready(t, cl)

	b, _ := cl.Topology().Datacenter("b")
	if want := fmt.Sprintf("127.0.0.1:%d", base+100+20); b.Nodes[2].Client != want {
		t.Errorf("client address of b/n2 is %s, want %s", b.Nodes[2].Client, want)
	}
	if _, err := b.LoadKey(); err != nil {
		t.Error(err)
	}
	if e := cl.Topology().Endpoints("a", "b"); len(e) != 3 || e[0].URL == "nats://"+b.Nodes[0].NATS {
		t.Errorf("a must reach every node of b through a proxy: %v", e)
	}

	for _, step := range []struct {
		dc    string
		do    Action
		want  error
		state string
		nodes int // of b
	}{
		{"b", Start, ErrState, Running, 3},
		{"b", Kill, nil, Killed, 0},
		{"b", Stop, ErrState, Killed, 0},
		{"b", Start, nil, Running, 3},
		{"b", Stop, nil, Stopped, 0},
		{"b", Kill, ErrState, Stopped, 0},
		{"b", "pause", ErrUnknown, Stopped, 0},
		{"x", Stop, ErrUnknown, Stopped, 0},
		{"b", Start, nil, Running, 3},
	} {
		if err := cl.Do(step.dc, step.do); !errors.Is(err, step.want) {
			t.Fatalf("%s %s: %v, want %v", step.do, step.dc, err, step.want)
		}
		if got := cl.State()["b"]; got != step.state {
			t.Errorf("after %s %s: b is %s, want %s", step.do, step.dc, got, step.state)
		}
		if step.nodes > 0 {
			ready(t, cl)
			continue
		}
		if n := h.node("b/n0"); n != nil {
			t.Errorf("after %s %s: a node of b runs", step.do, step.dc)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, controlName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control file is left: %v", err)
	}
}

func TestNotReadyNamesTheReason(t *testing.T) {
	cl, h, _ := start(t, Config{Dir: t.TempDir(), DCs: []string{"a", "b"}, BasePort: basePort(t, 2)})
	ready(t, cl)
	h.set("suspected")
	told := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	waiting := make(chan error, 1)
	go func() {
		waiting <- WaitReady(ctx, cl.Topology(), func(err error) {
			select {
			case told <- err:
			default:
			}
		})
	}()
	const want = "to a, b is suspected: as the test says"
	if err := <-told; !strings.Contains(err.Error(), want) {
		t.Errorf("told %v, want %q", err, want)
	}
	cancel()
	if err := <-waiting; !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "suspected") {
		t.Errorf("got %v, want not ready and why", err)
	}
}

func TestFolder(t *testing.T) {
	dir, base := t.TempDir(), basePort(t, 2)
	cl, _, stop := start(t, Config{Dir: dir, DCs: []string{"a", "b"}, BasePort: base})
	ready(t, cl)
	key := cl.Topology().Datacenters[0].PublicKey

	h := &health{nodes: map[string]*fakeNode{}}
	_, err := Open(Config{Dir: dir, Open: h.open})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a second cluster in the folder: %v, want it refused with the process that has it", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	for name, c := range map[string]Config{
		"other datacenters": {DCs: []string{"a", "c"}},
		"other nodes":       {Nodes: 3},
	} {
		c.Dir, c.Open = dir, h.open
		if _, err := Open(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s in the same folder: %v, want it refused", name, err)
		}
	}

	// The same folder is the same cluster, with what a user changed in its topology, on other ports if asked.
	path := filepath.Join(dir, topologyName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "default: QUORUM", "default: ALL", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GEOGATE_POLICY_TIMEOUT", "33s")
	other := basePort(t, 2)
	cl, _, stop = start(t, Config{Dir: dir, BasePort: other})
	ready(t, cl)
	top := cl.Topology()
	if top.Datacenters[0].PublicKey != key || top.Policy.Default != "ALL" || top.Policy.Timeout != 33*time.Second {
		t.Errorf("resumed as another cluster: %+v", top)
	}
	if want := fmt.Sprintf("127.0.0.1:%d", other+102); top.Datacenters[1].Nodes[0].Admin != want {
		t.Errorf("admin address of b/n0 is %s, want %s", top.Datacenters[1].Nodes[0].Admin, want)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "33s") {
		t.Errorf("what the environment overrides must not get into the file: %v\n%s", err, text)
	}
}

func TestOpenErrors(t *testing.T) {
	h := &health{nodes: map[string]*fakeNode{}}
	for name, c := range map[string]Config{
		"no opener":     {},
		"bad name":      {Open: h.open, DCs: []string{"A_"}},
		"path as name":  {Open: h.open, DCs: []string{"../x"}},
		"same name":     {Open: h.open, DCs: []string{"a", "a"}},
		"two nodes":     {Open: h.open, Nodes: 2},
		"negative rtt":  {Open: h.open, RTT: -1},
		"port too high": {Open: h.open, BasePort: 65_535},
	} {
		c.Dir = t.TempDir()
		if _, err := Open(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
		if entries, err := filepath.Glob(filepath.Join(c.Dir, "*")); err != nil || slices.Contains(entries, filepath.Join(c.Dir, topologyName)) {
			t.Errorf("%s: left a topology behind: %v, %v", name, entries, err)
		}
	}
}

func TestNodeFailureEndsTheCluster(t *testing.T) {
	base := basePort(t, 2)
	h := &health{word: "healthy", nodes: map[string]*fakeNode{}}
	cl, err := Open(Config{Dir: t.TempDir(), DCs: []string{"a", "b"}, BasePort: base, Open: h.open})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cl.Run(context.Background()) }()
	ready(t, cl)
	boom := errors.New("disk is full")
	h.node("b/n0").fail <- boom
	if err := <-done; !errors.Is(err, boom) || !strings.Contains(err.Error(), "node n0 of b") {
		t.Errorf("Run returned %v, want the failure and the node", err)
	}
	if err := cl.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenFailureClosesTheOthers(t *testing.T) {
	base := basePort(t, 1)
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+portsPerNode+adminPort)) // of n1
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	h := &health{word: "healthy", nodes: map[string]*fakeNode{}}
	cl, err := Open(Config{Dir: t.TempDir(), DCs: []string{"a"}, Nodes: 3, BasePort: base, Open: h.open})
	if err != nil {
		t.Fatal(err)
	}
	if err := cl.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "open node n1 of a") {
		t.Errorf("Run returned %v, want the node that could not be opened", err)
	}
	if err := cl.Close(); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+adminPort)) // of n0, which was open
	if err != nil {
		t.Fatalf("the node before it was not closed: %v", err)
	}
	_ = l.Close()
}

func TestControl(t *testing.T) {
	dir := t.TempDir()
	if _, err := Attach(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no cluster: %v", err)
	}
	cl, _, stop := start(t, Config{Dir: dir, DCs: []string{"a", "b"}, BasePort: basePort(t, 2), RTT: 10 * time.Millisecond})
	ready(t, cl)
	ctx := context.Background()
	c, err := Attach(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Link(ctx, "b", "a", []string{"cut", "bandwidth=1MB"})
	if want := (LinkState{A: "a", B: "b", Cut: true, RTTMillis: 10, Bandwidth: 1_000_000}); err != nil || s != want {
		t.Errorf("link: %+v, %v; want %+v", s, err, want)
	}
	if _, err := c.Link(ctx, "a", "x", []string{"cut"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown link: %v", err)
	}
	if _, err := c.Link(ctx, "a", "b", []string{"snip"}); err == nil || !strings.Contains(err.Error(), `"snip" is no change`) {
		t.Errorf("unknown change: %v", err)
	}
	if got, err := c.Do(ctx, "b", Kill); err != nil || got != Killed {
		t.Errorf("kill: %s, %v", got, err)
	}
	if _, err := c.Do(ctx, "b", Kill); !errors.Is(err, ErrState) {
		t.Errorf("kill again: %v", err)
	}
	state, err := c.State(ctx)
	if err != nil || state.Datacenters["a"] != Running || state.Datacenters["b"] != Killed || !state.Links[0].Cut {
		t.Errorf("state %+v, %v", state, err)
	}

	stranger := *c
	stranger.address.Token = "guess"
	if _, err := stranger.State(ctx); err == nil {
		t.Error("a caller without the token was answered")
	}
	if info, err := os.Stat(filepath.Join(dir, controlName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control file holds the token and must be its owner's only: %v, %v", info, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := c.State(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a client of a cluster that ended: %v", err)
	}
}
