package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/crypto/bcrypt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/replication"
	"geogate/replication/event"
	"geogate/replication/homes"
	"geogate/replication/policy"
)

// federation is several real datacenters of one replica each, with two real gateways: one that leads and one that follows. Frames go from one to another, and
// calls between gateways, as in a network without faults, except where a test cuts it. The register of homes is one that all
// read; what the datacenter refuses at apply is refused just before.
type federation struct {
	t     testing.TB
	sites map[string]*fedSite

	applying sync.RWMutex // read-locked from the look whether a write counts until it is applied, as the log's order does it

	mu       sync.Mutex
	homes    map[string]homes.Value // by keyspace. guarded by mu, as all below
	reading  map[string]bool        // keyspaces whose home may not serve reads, when false is set
	why      map[string]string      // keyspaces whose home can't serve at all, and why
	cut      map[[2]string]bool     // from, to: frames wait
	leased   bool                   // homes hold a lease; else they are as if they were forced
	confirms bool                   // peers confirm what was set aside, and nobody ends the wait for it before
	silent   map[string]string      // datacenters that calls do not reach, or whose answers are lost ("lost")
	calls    []string               // made
	changed  chan struct{}
	onCall   func(to string, r replication.Request)
	onStream func()            // before a stream is read, after the checks
	onRead   func(at string)   // before a range or a transaction is read, after the questions to other datacenters
	relay    bool              // frames of others are carried on, too
	down     error             // why no majority can be reached, for who asks the breaker
	behindBy map[string]string // datacenter: another one that it takes for the home, for one call
}

type fedSite struct {
	*site
	dc *dc.DC
}

const fedSpace = "/single/"

func newFederation(t testing.TB, change func(*Config), names ...string) *federation {
	t.Helper()
	f := &federation{
		t: t, sites: map[string]*fedSite{}, homes: map[string]homes.Value{}, reading: map[string]bool{}, why: map[string]string{},
		cut: map[[2]string]bool{}, silent: map[string]string{}, changed: make(chan struct{}),
	}
	dcs, peers := map[string]*dc.DC{}, make([][]string, len(names))
	for i, name := range names {
		peers[i] = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
		dcs[name] = openDC(t.(*testing.T), name, peers[i]...)
	}
	for i, name := range names {
		d := dcs[name]
		s := newSite(t, 2, func(c *Config) {
			here := fedNode{Local: Local{d}, f: f, follower: c.MemberID == 2}
			c.ClusterID = uint64(100 + i)
			c.Datacenter, c.Inspector, c.Users, c.BcryptCost = here, here, here, bcrypt.MinCost
			c.Replication, c.Homes, c.Origins = fedPeers{f, d}, fedHomes{f, name, here.follower}, here
			c.Peers = peers[i]
			c.Keyspaces = []Keyspace{{Prefix: fedSpace, Mode: SingleWriter, Home: names[0]}, {Prefix: "/other/", Mode: SingleWriter, Home: names[0]}}
			if change != nil {
				change(c)
			}
		})
		f.sites[name] = &fedSite{s, d}
	}
	f.update(func() {
		for _, k := range []string{fedSpace, "/other/"} {
			f.homes[k] = homes.Value{Epoch: 1, Home: f.life(names[0])}
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	var pumps sync.WaitGroup
	for _, from := range names {
		for _, to := range names {
			if from != to {
				pumps.Go(func() { f.pump(ctx, from, to) })
			}
		}
	}
	t.Cleanup(func() { stop(); pumps.Wait() })
	return f
}

func (f *federation) life(name string) homes.Life {
	return homes.Life{DC: name, Incarnation: f.sites[name].dc.Incarnation()}
}

// update changes what all see, and lets each datacenter learn it.
func (f *federation) update(fn func()) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	for keyspace, v := range f.homes {
		if v.Home.DC == "" {
			continue
		}
		for name, s := range f.sites {
			if r, err := s.dc.RegisterCommand(context.Background(), homes.Command{Kind: homes.Learn, Keyspace: keyspace, Known: v}); err != nil || r.Answer != homes.Learned {
				f.t.Errorf("%s learns of %q: %v, %v", name, keyspace, r.Answer, err)
			}
		}
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// pump carries frames one way.
func (f *federation) pump(ctx context.Context, from, to string) {
	a, b := f.sites[from].dc, f.sites[to].dc
	for ctx.Err() == nil {
		news := a.Changed()
		f.mu.Lock()
		cut, changed, origins := f.cut[[2]string{from, to}], f.changed, []string{from}
		if f.relay {
			origins = slices.DeleteFunc(slices.Collect(maps.Keys(f.sites)), func(n string) bool { return n == to })
		}
		f.mu.Unlock()
		carried := 0
		for _, origin := range origins {
			if !cut {
				carried += bring(ctx, a, b, origin)
			}
		}
		if carried > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-news:
		case <-changed:
		}
	}
}

// bring takes what one datacenter has of an origin to another, and says how much that was.
func bring(ctx context.Context, a, b *dc.DC, origin string) int {
	frames, err := a.Frames(origin, b.Position(origin).Revision, 1<<20)
	if err != nil {
		return 0
	}
	for i, s := range frames {
		done, err := b.Propose(ctx, s)
		if err == nil {
			select {
			case err = <-done:
			case <-ctx.Done():
			}
		}
		if err != nil {
			return i
		}
	}
	return len(frames)
}

// move makes another datacenter the home, once it has all that the old one wrote.
func (f *federation) move(keyspace, to string) {
	f.t.Helper()
	f.applying.Lock()
	f.mu.Lock()
	old := f.homes[keyspace]
	f.homes[keyspace] = homes.Value{Epoch: old.Epoch} // draining
	f.mu.Unlock()
	from := f.sites[old.Home.DC].dc
	cut := from.Position(old.Home.DC).Revision
	f.applying.Unlock()
	eventually(f.t, "the new home has all", func() bool { return f.sites[to].dc.Position(old.Home.DC).Revision >= cut })
	f.update(func() {
		f.homes[keyspace] = homes.Value{
			Epoch: old.Epoch + 1, Home: f.life(to),
			Past: append(slices.Clone(old.Past), homes.Tenure{Epoch: old.Epoch, Home: old.Home, Cut: cut}),
		}
	})
}

func (f *federation) value(keyspace string) homes.Value {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.homes[keyspace]
}

func (f *federation) client(name string) *clientv3.Client { return f.sites[name].client(0) }

// fedNode is the replica, which knows the registers.
type fedNode struct {
	Local
	f        *federation
	follower bool
}

// Leading, and what follows from it, is the only difference between the two nodes: both see one replica.
func (n fedNode) Leading() (uint64, bool) {
	term, leading := n.Local.Leading()
	return term, leading && !n.follower
}

func (n fedNode) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if n.follower {
		return nil, dc.ErrNotLeader
	}
	return n.Local.LeaseGrant(ctx, r)
}

func (n fedNode) RangeStream(ctx context.Context, r *pb.RangeRequest, pageBytes int, send func(*pb.RangeResponse) error) error {
	n.f.mu.Lock()
	on := n.f.onStream
	n.f.mu.Unlock()
	if on != nil {
		on()
	}
	return n.Local.RangeStream(ctx, r, pageBytes, send)
}

func (n fedNode) reads() {
	n.f.mu.Lock()
	on := n.f.onRead
	n.f.mu.Unlock()
	if on != nil {
		on(n.Name())
	}
}

func (n fedNode) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	n.reads()
	return n.Local.Range(ctx, r)
}

func (n fedNode) ReadTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	n.reads()
	return n.Local.ReadTxn(ctx, r)
}

var (
	_ Datacenter = fedNode{}
	_ Origins    = fedNode{}
)

func (n fedNode) Life() homes.Life { return homes.Life{DC: n.Name(), Incarnation: n.Incarnation()} }

func (n fedNode) Register(keyspace string) (homes.Register, bool) {
	v := n.f.value(keyspace)
	return homes.Register{Keyspace: keyspace, State: homes.State{Decided: v}}, v.Epoch > 0
}

func (n fedNode) AppliedOf(l homes.Life) int64 { return n.Position(l.DC).Revision }

// homeWrite does what the datacenter does at apply.
func homeWrite[R any](ctx context.Context, n fedNode, write func() (R, dc.Commit, error)) (R, dc.Commit, error) {
	var none R
	if n.follower {
		return none, dc.Commit{}, dc.ErrNotLeader
	}
	prefix, single := dc.KeyspaceOf(ctx)
	if !single {
		return write()
	}
	n.f.applying.RLock()
	defer n.f.applying.RUnlock()
	v := n.f.value(prefix)
	if v.Home.DC != n.Name() {
		return none, dc.Commit{}, &dc.NotHomeError{Keyspace: prefix, State: homes.State{Decided: v}}
	}
	resp, made, err := write()
	if made.Revision != 0 && !made.Repeated {
		made.Keyspace, made.Epoch = prefix, v.Epoch
	}
	return resp, made, err
}

func (n fedNode) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, dc.Commit, error) {
	return homeWrite(ctx, n, func() (*pb.PutResponse, dc.Commit, error) { return n.Local.Put(ctx, r) })
}

func (n fedNode) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, dc.Commit, error) {
	return homeWrite(ctx, n, func() (*pb.DeleteRangeResponse, dc.Commit, error) { return n.Local.DeleteRange(ctx, r) })
}

func (n fedNode) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, dc.Commit, error) {
	return homeWrite(ctx, n, func() (*pb.TxnResponse, dc.Commit, error) { return n.Local.Txn(ctx, r) })
}

// fedHomes is one datacenter's view of the homes.
type fedHomes struct {
	f        *federation
	name     string
	follower bool
}

func (h fedHomes) Standing(keyspace string) replication.Standing {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	v := h.f.homes[keyspace]
	st := replication.Standing{Keyspace: keyspace, Home: v.Home, Epoch: v.Epoch, Why: h.f.why[keyspace]}
	if taken, ok := h.f.behindBy[h.name]; ok {
		delete(h.f.behindBy, h.name)
		st.Home = homes.Life{DC: taken}
		return st
	}
	reading, set := h.f.reading[keyspace]
	st.Here = v.Home.DC == h.name && st.Why == "" && !h.follower
	st.Reading = st.Here && (!set || reading)
	if h.f.leased && st.Reading {
		st.Until = time.Now().Add(time.Hour)
	}
	return st
}

var errPastCut = errors.New("beyond the cut")

var errAway = errors.New("no route")

func (h fedHomes) Call(ctx context.Context, to string, r replication.Request) (replication.Reply, error) {
	h.f.mu.Lock()
	if h.follower {
		h.f.mu.Unlock()
		return replication.Reply{}, replication.ErrNotLeading
	}
	silent, onCall := h.f.silent[to], h.f.onCall
	h.f.calls = append(h.f.calls, h.name+" "+to+" "+r.Method)
	h.f.mu.Unlock()
	if onCall != nil {
		onCall(to, r)
	}
	if silent != "" && silent != "lost" {
		return replication.Reply{}, fmt.Errorf("%w: %s", replication.ErrNotDelivered, silent)
	}
	reply := h.f.sites[to].nodes[0].Serve(ctx, h.name, r)
	if silent == "lost" {
		return replication.Reply{}, fmt.Errorf("%w: %w", replication.ErrUnknownOutcome, errAway)
	}
	return reply, nil
}

// fedPeers knows what the other datacenters have applied of one.
type fedPeers struct {
	f  *federation
	dc *dc.DC
}

func (f *federation) confirmed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.confirms
}

func (fedPeers) Hurry()                                {}
func (fedPeers) Originate() error                      { return nil }
func (p fedPeers) Holders() int                        { return len(p.f.sites) }
func (p fedPeers) Admit(policy.Policy) (func(), error) { return func() {}, nil }
func (p fedPeers) Matrix() map[string]event.Vector     { return nil }
func (p fedPeers) Peers() []replication.PeerStatus     { return nil }
func (p fedPeers) Check(policy.Policy) error {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	return p.f.down
}

func (p fedPeers) Wait(ctx context.Context, revision int64, want policy.Policy) ([]string, error) {
	for {
		names := []string{p.dc.Name()}
		for name, s := range p.f.sites {
			if name != p.dc.Name() && s.dc.Position(p.dc.Name()).Revision >= revision {
				names = append(names, name)
			}
		}
		slices.Sort(names[1:])
		if want.Met(len(p.f.sites), len(names)) {
			return names, nil
		}
		for _, past := range p.f.value(fedSpace).Past {
			if past.Home.DC == p.dc.Name() && revision > past.Cut { // the engine hears of the decision, too
				if p.f.confirmed() {
					return slices.Sorted(maps.Keys(p.f.sites)), nil
				}
				return names, errPastCut
			}
		}
		if !sleep(ctx, nil, time.Millisecond) {
			return names, ctx.Err()
		}
	}
}
