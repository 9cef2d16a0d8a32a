package replication

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"geogate/replication/event"
)

// model is a datacenter as replication sees it: a replicated state machine that never fails, shared by all
// nodes of the DC. It applies frames with the chain check and keeps them all, or the suffix that not
// everyone has confirmed.
type model struct {
	name string

	mu          sync.Mutex
	incarnation uint64 // guarded by mu, as all below
	positions   map[string]event.Position
	frames      map[string][]event.Sealed
	applied     map[string][]int64 // last revisions in the order of application
	clock       *event.Clock
	changed     chan struct{}
	refused     int // proposals that did not continue the chain
	blocked     chan struct{}
	matrix      map[string]event.Vector
	confirms    int
	heard       map[string]event.Vector
	trim        bool // whether confirmations trim the chains
	revision    int64
	held        map[string]bool // origins whose frames must wait
	heldFrames  int
}

func newModel(name string) *model {
	return &model{
		name: name, incarnation: rand.Uint64() | 1, positions: map[string]event.Position{}, frames: map[string][]event.Sealed{},
		applied: map[string][]int64{}, clock: event.NewClock(nil), changed: make(chan struct{}),
	}
}

func (m *model) Incarnation() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.incarnation
}

func (m *model) Position(origin string) event.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.positions[origin]
	p.Origin = origin
	return p
}

func (m *model) Vector() event.Vector {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := event.Vector{}
	for o, p := range m.positions {
		v[o] = p.Revision
	}
	return v
}

func (m *model) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *model) Frames(origin string, after int64, maxBytes int) ([]event.Sealed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if after >= m.positions[origin].Revision {
		return nil, nil
	}
	all := m.frames[origin]
	if len(all) == 0 || all[0].PrevRevision > after {
		return nil, fmt.Errorf("model: behind %d: %w", after, ErrTrimmed)
	}
	i, _ := slices.BinarySearchFunc(all, after, func(f event.Sealed, r int64) int { return int(f.PrevRevision - r) })
	var out []event.Sealed
	for n := 0; i < len(all) && (len(out) == 0 || n < maxBytes); i++ {
		out = append(out, all[i])
		n += len(all[i].Bytes)
	}
	return out, nil
}

func (m *model) Backlog(origin string, after int64) (Backlog, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b Backlog
	if all := m.frames[origin]; after < m.positions[origin].Revision && (len(all) == 0 || all[0].PrevRevision > after) {
		return b, fmt.Errorf("model: behind %d: %w", after, ErrTrimmed)
	}
	for _, f := range m.frames[origin] {
		if f.PrevRevision >= after {
			if b.Txns == 0 {
				b.Oldest = f.Committed()
			}
			b.Txns += int64(f.Txns)
			b.Bytes += int64(len(f.Bytes))
		}
	}
	return b, nil
}

// write commits one local transaction per value and returns the last revision.
func (m *model) write(t testing.TB, values ...[]byte) int64 {
	t.Helper()
	return m.writeAs(t, nil, values...)
}

// writeAs is write to a single-writer keyspace.
func (m *model) writeAs(t testing.TB, home *event.Home, values ...[]byte) int64 {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.positions[m.name]
	f := &event.Frame{Origin: m.name, Incarnation: m.incarnation, PrevRevision: p.Revision, PrevHash: p.Hash, Seen: event.Vector{}}
	for o, q := range m.positions {
		if o != m.name {
			f.Seen[o] = q.Revision
		}
	}
	for i, v := range values {
		m.revision++
		f.Txns = append(f.Txns, event.Txn{
			Revision: m.revision, Stamp: m.clock.Next(1), Home: home,
			Ops: []event.Op{{Kind: event.OpPut, Key: fmt.Appendf(nil, "key-%d", i), Value: v}},
		})
	}
	s, err := event.Seal(f)
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	m.appendLocked(s)
	return s.Last
}

func (m *model) appendLocked(s event.Sealed) {
	m.positions[s.Origin] = event.Position{Origin: s.Origin, Incarnation: s.Incarnation, Revision: s.Last, Hash: s.Hash}
	m.frames[s.Origin] = append(m.frames[s.Origin], s)
	m.applied[s.Origin] = append(m.applied[s.Origin], s.Last)
	close(m.changed)
	m.changed = make(chan struct{})
}

// Propose applies at once, unless the model is blocked.
func (m *model) Propose(ctx context.Context, s event.Sealed) (<-chan error, error) {
	m.mu.Lock()
	blocked := m.blocked
	m.mu.Unlock()
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	result := make(chan error, 1)
	result <- m.apply(s)
	return result, nil
}

func (m *model) apply(s event.Sealed) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.positions[s.Origin]
	p.Origin = s.Origin
	step, err := p.Next(&s)
	if m.held[s.Origin] {
		m.heldFrames++
		return fmt.Errorf("%w: for a test", event.ErrHeld)
	}
	if err != nil {
		m.refused++
		return err
	}
	if step == event.StepApply {
		m.revision++
		m.appendLocked(s)
	}
	return nil
}

// block makes proposals wait until the returned function is called.
func (m *model) block() (unblock func()) {
	c := make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocked = c
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.blocked = nil
		close(c)
	}
}

// Heard takes note of what is known of the others.
func (m *model) Heard(matrix map[string]event.Vector, _ map[string]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = matrix
}

// Confirm trims the chains to what not everyone has.
func (m *model) Confirm(_ context.Context, matrix map[string]event.Vector, _ map[string]uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.matrix = matrix
	m.confirms++
	if !m.trim {
		return nil
	}
	for origin := range m.frames {
		low := int64(1 << 62)
		for _, v := range matrix {
			low = min(low, v[origin])
		}
		m.trimLocked(origin, low)
	}
	return nil
}

// trimTo drops frames of origin up to a revision, as a bound of retention would.
func (m *model) trimTo(origin string, revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trimLocked(origin, revision)
}

func (m *model) trimLocked(origin string, upTo int64) {
	m.frames[origin] = slices.DeleteFunc(slices.Clone(m.frames[origin]), func(f event.Sealed) bool { return f.Last <= upTo })
}

func (m *model) confirmed() (map[string]event.Vector, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.matrix), m.confirms
}

func (m *model) known() map[string]event.Vector {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard
}

// checkPrefix fails the test unless what m applied of o's chain is a prefix of what o committed, and no
// proposal ever failed to continue the chain.
func (m *model) checkPrefix(t testing.TB, o *model) {
	t.Helper()
	o.mu.Lock()
	want := slices.Clone(o.applied[o.name])
	o.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.applied[o.name]
	if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
		t.Errorf("%s applied %d frames of %s that are no prefix of the %d committed there", m.name, len(got), o.name, len(want))
	}
	if m.refused > 0 {
		t.Errorf("%s was proposed %d frames that do not continue the chain", m.name, m.refused)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// hold makes the frames of an origin wait, or lets them go.
func (m *model) hold(origin string, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = map[string]bool{origin: on}
}

func (m *model) holds() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heldFrames
}

func (m *model) gaps() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

// touch is an entry that changes nothing.
func (m *model) touch() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}
