package consensus

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal"
	"go.uber.org/goleak"

	"geogate/test/etcdbin/process"
)

func TestMain(m *testing.M) {
	wal.SegmentSizeBytes = 64 << 10
	goleak.VerifyTestMain(m)
}

// ourCluster is of this process alone: a test of another one may use a port on which a node here was killed just now, and
// may not take part in its group.
var ourCluster = uint64(os.Getpid())<<8 | 7

// errUnknown is what a write gets whose fate its proposer does not know.
var errUnknown = errors.New("outcome unknown")

// write is one waiting write; its text is unique in a test.
type write struct {
	text string
	done chan error // capacity 1
}

// disk is what an app keeps over a crash.
type disk struct {
	mu      sync.Mutex
	applied Applied
	entries []Entry
}

// app is a state machine that records what it is given, and a batcher. Its memory is lost in a crash, its disk
// is not. It checks the contract of StateMachine on every call.
type app struct {
	t    testing.TB
	id   uint64
	disk *disk
	node *Node // whose Status Apply looks at; nil without one
	lazy bool  // flush only when told to

	waitingC chan struct{}
	gate     chan struct{} // when not nil, Apply waits for it

	mu       sync.Mutex
	entries  []Entry // applied, from index 2 on
	conf     []byte  // of the entries
	coming   []byte  // takes effect with the next Apply; nil for none
	term     uint64
	leader   uint64
	leading  bool
	queue    []write
	inflight map[string]write
	packs    []int // writes per entry taken
	restores int
	events   []string
	size     atomic.Int64 // that it says of itself
	joints   []string     // when a joint membership was entered and left
}

func newApp(t testing.TB, id uint64, d *disk) *app {
	a := &app{t: t, id: id, disk: d, waitingC: make(chan struct{}, 1), inflight: make(map[string]write)}
	d.mu.Lock()
	defer d.mu.Unlock()
	a.entries, a.conf = slices.Clone(d.entries), d.applied.ConfState
	return a
}

func (a *app) lastLocked() uint64 {
	if len(a.entries) == 0 {
		return founding
	}
	return a.entries[len(a.entries)-1].Index
}

func (a *app) Apply(entries []Entry) error {
	if a.gate != nil {
		<-a.gate
	}
	if last := entries[len(entries)-1].Index; a.node != nil && a.node.Status().Commit < last {
		a.t.Errorf("node %d: entry %d is applied, and Status says that %d are committed", a.id, last, a.node.Status().Commit)
	}
	a.mu.Lock()
	a.takeConfLocked()
	for _, e := range entries {
		if e.Index != a.lastLocked()+1 {
			a.t.Errorf("node %d: entry %d applied after %d", a.id, e.Index, a.lastLocked())
		}
		a.entries = append(a.entries, e)
		for _, text := range unpack(e.Data) {
			if w, ok := a.inflight[text]; ok {
				delete(a.inflight, text)
				w.done <- nil
			}
		}
	}
	if a.conf == nil {
		a.t.Errorf("node %d: Apply before SetConf", a.id)
	}
	a.mu.Unlock()
	if !a.lazy {
		a.flush()
	}
	return nil
}

// takeConfLocked makes the membership that was announced the one of the entries from here on.
func (a *app) takeConfLocked() {
	if a.coming != nil {
		a.conf, a.coming = a.coming, nil
	}
}

// flush makes everything applied durable, with the membership that holds there.
func (a *app) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.disk.mu.Lock()
	defer a.disk.mu.Unlock()
	if len(a.entries) == 0 {
		return
	}
	last := a.entries[len(a.entries)-1]
	a.disk.entries = slices.Clone(a.entries)
	a.disk.applied = Applied{Index: last.Index, Term: last.Term, ConfState: a.conf}
}

func (a *app) Durable() Applied {
	a.disk.mu.Lock()
	defer a.disk.mu.Unlock()
	return a.disk.applied
}

func (a *app) Size() int64 { return a.size.Load() }

func (a *app) SetConf(_ uint64, conf []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch c, _, err := decodeConf(conf); {
	case err != nil:
		a.t.Errorf("node %d: %v", a.id, err)
	case len(c.VotersOutgoing) > 0:
		a.joints = append(a.joints, "entered")
	case len(a.joints)%2 == 1:
		a.joints = append(a.joints, "left")
	}
	a.coming = conf // a flush before the next Apply must not write it down with the entries before
}

func (a *app) Snapshot() (Snapshot, error) {
	a.disk.mu.Lock()
	defer a.disk.mu.Unlock()
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(a.disk.entries); err != nil {
		return Snapshot{}, err
	}
	return Snapshot{Applied: a.disk.applied, Size: int64(b.Len()), ReadCloser: io.NopCloser(&b)}, nil
}

func (a *app) Restore(at Applied, r io.Reader) error {
	var entries []Entry
	if err := gob.NewDecoder(r).Decode(&entries); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.disk.mu.Lock()
	defer a.disk.mu.Unlock()
	if last := entries[len(entries)-1]; last.Index != at.Index || last.Term != at.Term {
		a.t.Errorf("node %d: snapshot at %d/%d ends with entry %d/%d", a.id, at.Index, at.Term, last.Index, last.Term)
	}
	a.entries, a.disk.entries, a.disk.applied = entries, slices.Clone(entries), at
	a.conf, a.coming = at.ConfState, nil
	a.restores++
	return nil
}

func (a *app) LeaderChanged(term, leader uint64, leading bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if leading && (len(a.entries) == 0 || a.entries[len(a.entries)-1].Term != term) {
		a.t.Errorf("node %d: leading in term %d before an entry of it was applied", a.id, term)
	}
	a.term, a.leader, a.leading = term, leader, leading
	a.events = append(a.events, fmt.Sprintf("term %d leader %d leading %v", term, leader, leading))
	if leading {
		return
	}
	for text, w := range a.inflight {
		delete(a.inflight, text)
		w.done <- errUnknown
	}
	for _, w := range a.queue {
		w.done <- ErrNotLeader
	}
	a.queue = nil
}

func (a *app) Waiting() <-chan struct{} { return a.waitingC }

func (a *app) Take(limit int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	var texts []string
	for n := 0; len(a.queue) > 0 && (n == 0 || n+len(a.queue[0].text) <= limit); {
		w := a.queue[0]
		a.queue = a.queue[1:]
		a.inflight[w.text] = w
		texts = append(texts, w.text)
		n += len(w.text) + 4
	}
	if texts == nil {
		return nil
	}
	a.packs = append(a.packs, len(texts))
	return pack(texts)
}

func (a *app) Dropped(data []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, text := range unpack(data) {
		w := a.inflight[text]
		delete(a.inflight, text)
		w.done <- err
	}
}

// put writes and waits. Only a nil error says that the write is committed.
func (a *app) put(ctx context.Context, text string) error {
	w := write{text: text, done: make(chan error, 1)}
	a.mu.Lock()
	if !a.leading {
		a.mu.Unlock()
		return ErrNotLeader
	}
	a.queue = append(a.queue, w)
	a.mu.Unlock()
	signal(a.waitingC)
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return errUnknown
	}
}

// texts are all writes applied, in order.
func (a *app) texts() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for _, e := range a.entries {
		all = append(all, unpack(e.Data)...)
	}
	return all
}

func (a *app) restored() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.restores
}

func (a *app) isLeading() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leading
}

func pack(texts []string) []byte {
	var b []byte
	for _, s := range texts {
		b = append(b, byte(len(s)>>24), byte(len(s)>>16), byte(len(s)>>8), byte(len(s)))
		b = append(b, s...)
	}
	return b
}

func unpack(b []byte) []string {
	var texts []string
	for len(b) > 0 {
		n := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		texts = append(texts, string(b[4:4+n]))
		b = b[4+n:]
	}
	return texts
}

// site is one node of a group in one process.
type site struct {
	id    uint64
	addr  string
	dir   string
	disk  *disk
	app   *app
	node  *Node
	stop  context.CancelFunc
	ended chan error // what Run returned; capacity 1

	joins   bool
	members []Member // that it was told of when it joined
	removed bool     // Run may return ErrRemoved
}

// group is a group of nodes whose network can be cut.
type group struct {
	t     testing.TB
	sites []*site
	tune  func(*Config)
	log   *slog.Logger

	mu  sync.Mutex
	cut map[[2]uint64]bool
}

// newGroup starts n nodes. At the end of the test it stops them and checks that they agree.
func newGroup(t testing.TB, n int, tune func(*Config)) *group {
	t.Helper()
	g := planGroup(t, n, tune)
	for _, s := range g.sites {
		g.start(s)
	}
	t.Cleanup(g.end)
	return g
}

// planGroup is a group of which no node was started.
func planGroup(t testing.TB, n int, tune func(*Config)) *group {
	t.Helper()
	g := &group{t: t, tune: tune, cut: make(map[[2]uint64]bool), log: quiet()}
	for i := range n {
		g.sites = append(g.sites, &site{id: uint64(i + 1), dir: filepath.Join(t.TempDir(), "node"), disk: &disk{}, addr: freeAddr(t)})
	}
	return g
}

// end stops all nodes.
func (g *group) end() {
	for _, s := range g.sites {
		g.stop(s)
	}
	g.agree()
}

// quiet logs only in a verbose run.
func quiet() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// freeAddr reserves an address for a node that is restarted.
func freeAddr(t testing.TB) string {
	t.Helper()
	ports, err := process.Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0])
}

func (g *group) config(s *site) Config {
	cfg := Config{
		ClusterID: ourCluster, NodeID: s.id, Dir: s.dir, TickInterval: 10 * time.Millisecond,
		StateMachine: s.app, Batcher: s.app, Logger: g.log,
		Link: func(from, to uint64) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return !g.cut[[2]uint64{from, to}]
		},
	}
	for _, o := range g.sites {
		if !o.joins {
			cfg.Members = append(cfg.Members, Member{ID: o.id, Addr: o.addr})
		}
	}
	if s.joins {
		cfg.Join, cfg.Members, cfg.Self = true, s.members, Member{Name: fmt.Sprint("n", s.id)}
	}
	if g.tune != nil {
		g.tune(&cfg)
	}
	return cfg
}

// open opens a site's node with what is on its disk.
func (g *group) open(s *site) error {
	s.app = newApp(g.t, s.id, s.disk)
	var err error
	s.node, err = Open(g.config(s))
	s.app.node = s.node
	return err
}

func (g *group) start(s *site) {
	g.t.Helper()
	if err := g.open(s); err != nil {
		g.t.Fatal(err)
	}
	g.run(s)
}

func (g *group) run(s *site) {
	ctx, cancel := context.WithCancel(context.Background())
	node, ended := s.node, make(chan error, 1)
	s.stop, s.ended = cancel, ended
	go func() { ended <- node.Run(ctx) }()
}

// stop ends a node cleanly; it may have ended already.
func (g *group) stop(s *site) {
	g.t.Helper()
	if s.ended == nil {
		return
	}
	s.stop()
	if err := <-s.ended; err != nil && (!s.removed || !errors.Is(err, ErrRemoved)) {
		g.t.Errorf("node %d: %v", s.id, err)
	}
	s.ended = nil
}

// kill ends a node as a crash would.
func (g *group) kill(s *site) {
	g.t.Helper()
	s.node.Kill()
	if err := <-s.ended; err != nil {
		g.t.Errorf("node %d: %v", s.id, err)
	}
	s.stop()
	s.ended = nil
}

// isolate cuts a node off from all others, or joins it again.
func (g *group) isolate(s *site, cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range g.sites {
		g.cut[[2]uint64{s.id, o.id}] = cut
		g.cut[[2]uint64{o.id, s.id}] = cut
	}
}

// agree checks that no two nodes have applied different logs.
func (g *group) agree() {
	g.t.Helper()
	for _, s := range g.sites[1:] {
		a, b := g.sites[0].app.entries, s.app.entries
		for i := range min(len(a), len(b)) {
			if a[i].Index != b[i].Index || a[i].Term != b[i].Term || !bytes.Equal(a[i].Data, b[i].Data) {
				g.t.Errorf("nodes 1 and %d differ at index %d", s.id, a[i].Index)
				return
			}
		}
	}
}

// leader waits for a running node that leads, other than those excluded.
func (g *group) leader(except ...*site) *site {
	g.t.Helper()
	var found *site
	eventually(g.t, "a leader", func() bool {
		term := uint64(0)
		found = nil
		for _, s := range g.sites {
			if s.ended == nil || slices.Contains(except, s) {
				continue
			}
			if st := s.node.Status(); st.Leading && s.app.isLeading() && st.Term > term {
				found, term = s, st.Term
			}
		}
		return found != nil
	})
	return found
}

// follower is a running node that is not s.
func (g *group) follower(s *site) *site {
	for _, o := range g.sites {
		if o != s && o.ended != nil {
			return o
		}
	}
	g.t.Fatal("no follower")
	return nil
}

// put writes through whoever leads until it is acknowledged. A write whose outcome is unknown is written again
// under another text, so each text is proposed once.
func (g *group) put(text string, except ...*site) {
	g.t.Helper()
	eventually(g.t, "write "+text, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err := g.leader(except...).app.put(ctx, text)
		if errors.Is(err, errUnknown) {
			text += "'"
		}
		return err == nil
	})
}

// everywhere waits until all running nodes have applied the same entries, at least up to those of s.
func (g *group) everywhere(s *site) {
	g.t.Helper()
	eventually(g.t, "all nodes to catch up", func() bool {
		want := s.node.Status().Commit
		for _, o := range g.sites {
			if o.ended != nil && o.node.Status().Applied < want {
				return false
			}
		}
		return true
	})
}

// grown waits until all nodes of a new group have a log: until then they vote for nobody who has one.
func (g *group) grown() {
	g.t.Helper()
	lead := g.leader()
	eventually(g.t, "the leader's first entry", func() bool { return lead.node.Status().Commit > founding })
	g.everywhere(lead)
}

// eventually polls a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for late := time.After(30 * time.Second); !ok(); {
		select {
		case <-poll.C:
		case <-late:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// text is a write of about n bytes that does not compress to zeros.
func text(i, n int) string {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	b := make([]byte, n)
	for j := range b {
		b[j] = byte('a' + r.IntN(26))
	}
	return fmt.Sprintf("%06d-%s", i, b)
}

// slowLog is a log whose saves can be held up or made to fail.
type slowLog struct {
	logFile
	save func() error
}

func (l *slowLog) Save(st raftpb.HardState, ents []raftpb.Entry) error {
	if err := l.save(); err != nil {
		return err
	}
	return l.logFile.Save(st, ents)
}
