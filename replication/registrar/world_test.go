package registrar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"geogate/replication/homes"
)

const prefix = "/locks/"

// world is datacenters with in-memory acceptors and the network between them. Time is the bubble's.
type world struct {
	t    *testing.T
	mu   sync.Mutex
	dcs  map[string]*site
	cut  map[[2]string]bool // directions that lose everything; guarded by mu
	tune func(*Config)

	older bool // answers lack what older builds don't say; set before anything is asked
}

// site is a datacenter: what its Raft group has, and the registrar of the node that leads it.
type site struct {
	w       *world
	name    string
	witness bool

	mu      sync.Mutex
	life    homes.Life // guarded by mu, as all below
	state   homes.State
	granted time.Time
	applied map[homes.Life]int64
	before  func(homes.Command) // sees each command before it is applied; nil for none

	reg  *Registrar
	stop func()
}

var errCut = errors.New("no way there")

// newWorld starts datacenters; names that begin with w are witnesses.
func newWorld(t *testing.T, tune func(*Config), names ...string) *world {
	w := &world{t: t, dcs: map[string]*site{}, cut: map[[2]string]bool{}, tune: tune}
	for i, n := range names {
		w.dcs[n] = &site{
			w: w, name: n, witness: n[0] == 'w', life: homes.Life{DC: n, Incarnation: uint64(i + 1)},
			applied: map[homes.Life]int64{},
		}
	}
	for _, n := range names {
		w.dcs[n].lead()
	}
	t.Cleanup(func() {
		for _, s := range w.dcs {
			s.crash()
		}
	})
	return w
}

// lead starts a registrar, as a node does that becomes the leader.
func (s *site) lead() {
	cfg := Config{
		Local: s.name, Acceptor: s, Carrier: s, Lease: homes.Terms{Duration: 4 * time.Second, DriftPPM: 1000},
		Keyspaces: []Keyspace{{Prefix: prefix, Home: "a"}},
		Uptime:    func() time.Duration { return time.Since(time.Unix(0, 0)) },
	}
	if os.Getenv("GEOGATE_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("dc", s.name)
	}
	for _, n := range slices.Sorted(maps.Keys(s.w.dcs)) {
		cfg.Voters = append(cfg.Voters, homes.Voter{DC: n, Witness: s.w.dcs[n].witness})
	}
	if s.w.tune != nil {
		s.w.tune(&cfg)
	}
	reg, err := New(cfg)
	if err != nil {
		s.w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.mu.Lock()
	s.reg = reg
	s.mu.Unlock()
	go func() {
		defer close(done)
		reg.Run(ctx)
	}()
	synctest.Wait()
	s.stop = func() {
		cancel()
		<-done
	}
}

// crash ends the registrar; the acceptor stays.
func (s *site) crash() {
	if s.stop == nil {
		return
	}
	s.mu.Lock()
	s.reg = nil
	s.mu.Unlock()
	s.stop()
	s.stop = nil
}

func (s *site) registrar() *Registrar {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reg
}

func (s *site) marksLocked() homes.Marks {
	if s.witness {
		return nil
	}
	return func(l homes.Life) int64 { return s.applied[l] }
}

func (s *site) RegisterCommand(_ context.Context, c homes.Command) (homes.Reply, error) {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before(c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Keyspace != prefix {
		return homes.Reply{}, fmt.Errorf("keyspace %q", c.Keyspace)
	}
	next, reply := s.state.Apply(c, s.marksLocked())
	if next.Lease != s.state.Lease {
		s.granted = time.Now()
	}
	s.state = next
	return reply, nil
}

func (s *site) Register(string) (homes.Register, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return homes.Register{Keyspace: prefix, State: s.state, Granted: s.granted}, true
}

func (s *site) Registers() []homes.Register { r, _ := s.Register(prefix); return []homes.Register{r} }

func (s *site) Life() homes.Life {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

func (s *site) AppliedOf(l homes.Life) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied[l]
}

func (s *site) Overrunning() []string { return nil }

func (s *site) Exchange(ctx context.Context, dc string, c homes.Command) (homes.Reply, error) {
	time.Sleep(5 * time.Millisecond) // of the bubble: a round trip
	to := s.w.dcs[dc]
	if s.w.isCut(s.name, dc) || to.registrar() == nil {
		<-ctx.Done()
		return homes.Reply{}, errCut
	}
	reply, err := to.registrar().Serve(ctx, s.name, c)
	if s.w.older {
		reply.Quiet, reply.Lost, reply.AtHome = false, false, false
	}
	if s.w.isCut(dc, s.name) {
		<-ctx.Done()
		return homes.Reply{}, errCut
	}
	return reply, err
}

func (s *site) AppliedAt(dc string, l homes.Life) (int64, bool) {
	if s.w.isCut(dc, s.name) {
		return 0, false
	}
	return s.w.dcs[dc].AppliedOf(l), true
}

func (s *site) LifeOf(dc string) (homes.Life, bool) { return s.w.dcs[dc].Life(), true }

// Bring takes the frames from whoever can be reached and has most.
func (s *site) Bring(tenures []homes.Tenure) {
	for _, t := range tenures {
		for n, other := range s.w.dcs {
			if n == s.name || s.w.isCut(n, s.name) || other.registrar() == nil {
				continue
			}
			at := min(other.AppliedOf(t.Home), t.Cut)
			s.mu.Lock()
			s.applied[t.Home] = max(s.applied[t.Home], at)
			s.mu.Unlock()
		}
	}
}

func (s *site) Down(dc string) (bool, string) { return s.w.dcs[dc].registrar() == nil, "all" }

func (w *world) isCut(from, to string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[[2]string{from, to}]
}

// isolate cuts a datacenter off in both directions, or joins it again.
func (w *world) isolate(dc string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := range w.dcs {
		w.cut[[2]string{dc, n}], w.cut[[2]string{n, dc}] = cut && n != dc, cut && n != dc
	}
}

// write applies a write at the home as dc does, and says at which revision; 0 when it is refused.
func (w *world) write(dc string) int64 {
	s := w.dcs[dc]
	if r := s.registrar(); r == nil || !r.Standing(prefix).Here {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.Writable(s.life) {
		return 0
	}
	s.applied[s.life]++
	return s.applied[s.life]
}

// ship brings everything of an origin to another datacenter, as far as its acceptor lets it.
func (w *world) ship(from, to string) {
	f, s := w.dcs[from], w.dcs[to]
	head := f.AppliedOf(f.Life())
	s.mu.Lock()
	defer s.mu.Unlock()
	for rev := s.applied[f.life] + 1; rev <= head; rev++ {
		write := homes.Write{Epoch: s.state.Decided.Epoch, Home: f.life, Revision: rev}
		for _, t := range s.state.Decided.Past {
			if t.Home == f.life && rev <= t.Cut {
				write.Epoch = t.Epoch
				break
			}
		}
		if s.state.Judge(write, s.marksLocked()) == homes.Hold {
			return
		}
		s.applied[f.life] = rev
	}
}

// open waits until a datacenter takes writes, and fails when two ever do at once.
func (w *world) open(dc string, within time.Duration) Standing {
	w.t.Helper()
	for end := time.Now().Add(within); ; {
		var here []string
		for n, s := range w.dcs {
			if r := s.registrar(); r != nil && (r.Standing(prefix).Here || r.Standing(prefix).Reading) {
				here = append(here, n)
			}
		}
		if len(here) > 1 {
			w.t.Fatalf("two homes serve at once: %v", here)
		}
		if r := w.dcs[dc].registrar(); r != nil {
			s := r.Standing(prefix)
			if s.Here {
				return s
			}
			if time.Now().After(end) {
				w.t.Fatalf("%s is not open after %s: %+v, moves %+v", dc, within, s, r.Moves(prefix))
			}
		} else if time.Now().After(end) {
			w.t.Fatalf("%s does not lead", dc)
		}
		time.Sleep(10 * time.Millisecond) // of the bubble
	}
}

// ended waits for the end of a move and returns it.
func (w *world) ended(dc string, id uint64, within time.Duration) MoveStatus {
	w.t.Helper()
	end := time.Now().Add(within)
	for {
		for _, m := range w.dcs[dc].registrar().Moves(prefix) {
			if m.ID == id && m.Result != "" {
				return m
			}
		}
		if time.Now().After(end) {
			w.t.Fatalf("move %d of %s has not ended after %s: %+v", id, dc, within, w.dcs[dc].registrar().Moves(prefix))
		}
		time.Sleep(10 * time.Millisecond) // of the bubble
	}
}
