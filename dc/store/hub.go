package store

import (
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// hub knows the synced watchers: those that have, in their queues, everything up to the current revision.
type hub struct {
	mu     sync.Mutex
	keys   map[string]map[*Watcher]struct{} // guarded by mu, as all below; watchers of one key
	ranges spans                            // watchers of ranges
	all    map[*Watcher]struct{}            // open watchers, synced or not
	synced int
	slow   uint64 // times that a watcher's queue overflowed
	staged []*Watcher
	hits   []map[*Watcher]struct{}
}

func (h *hub) init() {
	h.keys = map[string]map[*Watcher]struct{}{}
	h.all = map[*Watcher]struct{}{}
}

// notify queues the events of a batch. The caller holds the store's lock, so no watcher can become synced
// meanwhile, and the order of revisions is the order of calls.
func (h *hub) notify(records []*record) {
	if len(records) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.synced == 0 {
		return
	}
	for i, r := range records {
		h.offer(r)
		if i+1 == len(records) || records[i+1].Mod != r.Mod {
			h.deliver(r.Mod)
		}
	}
}

// offer stages the record's event with every watcher that wants it. They share the event.
func (h *hub) offer(r *record) {
	key := asString(r.Key)
	h.hits = h.hits[:0]
	if ws := h.keys[key]; ws != nil {
		h.hits = append(h.hits, ws)
	}
	h.hits = h.ranges.stab(key, h.hits)
	var ev *mvccpb.Event
	for _, ws := range h.hits {
		for w := range ws {
			if !w.wants(r.Mod, r.Deleted) {
				continue
			}
			if ev == nil {
				ev = r.event()
			}
			if len(w.staged) == 0 {
				h.staged = append(h.staged, w)
			}
			w.staged = append(w.staged, ev)
		}
	}
}

// deliver moves the staged events of one revision into the watchers' queues.
func (h *hub) deliver(revision int64) {
	for _, w := range h.staged {
		if !w.push(revision, w.staged) {
			h.removeLocked(w)
			h.slow++
		}
		w.staged = nil
	}
	clear(h.staged)
	h.staged = h.staged[:0]
}

func (h *hub) open(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[w] = struct{}{}
}

// addLocked makes w a synced watcher. The caller holds the store's lock too, for reading at least.
func (h *hub) addLocked(w *Watcher) {
	h.synced++
	if !w.span.single {
		h.ranges.add(w)
		return
	}
	ws := h.keys[w.span.begin]
	if ws == nil {
		ws = map[*Watcher]struct{}{}
		h.keys[w.span.begin] = ws
	}
	ws[w] = struct{}{}
}

func (h *hub) removeLocked(w *Watcher) {
	h.synced--
	if !w.span.single {
		h.ranges.remove(w)
		return
	}
	ws := h.keys[w.span.begin]
	if delete(ws, w); len(ws) == 0 {
		delete(h.keys, w.span.begin)
	}
}

// resync makes every watcher read history again from where it stands.
func (h *hub) resync() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.all {
		if w.desync() {
			h.removeLocked(w)
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	open := make([]*Watcher, 0, len(h.all))
	for w := range h.all {
		open = append(open, w)
	}
	h.mu.Unlock()
	for _, w := range open {
		w.Close()
	}
}

func (h *hub) counts() (open, synced int, slow uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all), h.synced, h.slow
}

// spans finds the ranges that hold a key: the nodes of a balanced tree laid out in a sorted slice, each
// with the greatest end in its subtree. Changes only mark it; the next search rebuilds what it needs.
type spans struct {
	groups []*group // ascending by begin, then end
	dirty  bool
}

// group is all watchers of one range.
type group struct {
	span     span
	watchers map[*Watcher]struct{}
	reach    string // greatest end in the subtree
	open     bool   // the subtree holds a range without an end
}

func (s *spans) find(sp *span) (int, bool) {
	return slices.BinarySearchFunc(s.groups, sp, func(g *group, sp *span) int {
		if c := strings.Compare(g.span.begin, sp.begin); c != 0 {
			return c
		}
		if g.span.open != sp.open {
			if g.span.open {
				return 1
			}
			return -1
		}
		return strings.Compare(g.span.end, sp.end)
	})
}

func (s *spans) add(w *Watcher) {
	i, ok := s.find(&w.span)
	if !ok {
		s.groups = slices.Insert(s.groups, i, &group{span: w.span, watchers: map[*Watcher]struct{}{}})
		s.dirty = true
	}
	s.groups[i].watchers[w] = struct{}{}
}

func (s *spans) remove(w *Watcher) {
	i, ok := s.find(&w.span)
	if !ok {
		return
	}
	if delete(s.groups[i].watchers, w); len(s.groups[i].watchers) == 0 {
		s.groups = slices.Delete(s.groups, i, i+1)
		s.dirty = true
	}
}

// stab appends the watchers of every range that holds key.
func (s *spans) stab(key string, hits []map[*Watcher]struct{}) []map[*Watcher]struct{} {
	if s.dirty {
		s.build(0, len(s.groups))
		s.dirty = false
	}
	return s.search(0, len(s.groups), key, hits)
}

// build computes the reach of the subtree over groups[lo:hi]; its root is in the middle.
func (s *spans) build(lo, hi int) *group {
	if lo >= hi {
		return nil
	}
	mid := (lo + hi) / 2
	g := s.groups[mid]
	g.reach, g.open = g.span.end, g.span.open
	for _, sub := range []*group{s.build(lo, mid), s.build(mid+1, hi)} {
		if sub != nil {
			g.reach, g.open = max(g.reach, sub.reach), g.open || sub.open
		}
	}
	return g
}

func (s *spans) search(lo, hi int, key string, hits []map[*Watcher]struct{}) []map[*Watcher]struct{} {
	if lo >= hi {
		return hits
	}
	mid := (lo + hi) / 2
	g := s.groups[mid]
	if !g.open && g.reach <= key {
		return hits
	}
	hits = s.search(lo, mid, key, hits)
	if g.span.begin > key {
		return hits
	}
	if g.span.before(key) {
		hits = append(hits, g.watchers)
	}
	return s.search(mid+1, hi, key, hits)
}
