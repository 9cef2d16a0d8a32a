package dc

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/dc/store"
	"geogate/replication/event"
)

// maxSweep bounds the keys that one chunk deletes. What is left is for the next snapshot of the same sender;
// a constant, since replicas must delete alike.
const maxSweep = 10_000

// sweep is what a chunk says of keys that it does not hold: of those in a range the sender has no live one, and
// this is what it had applied before it looked. See README.md, "A restored datacenter".
type sweep struct {
	dc     string // the sender
	life   uint64
	system bool   // names of the system table, and not keys
	after  []byte // the range begins behind this
	last   []byte // and ends with this
	end    bool   // or goes to the end
	held   map[life]int64
}

const (
	sweepDC     = 1
	sweepLife   = 2
	sweepSystem = 3
	sweepAfter  = 4
	sweepLast   = 5
	sweepEnd    = 6
	sweepHeld   = 7
)

// newSweep describes what was read from a place on, given what had been applied and settled before that. It is nil where
// something was left out.
func (d *DC) newSweep(after []byte, since int64, e *part, before *published, held []event.Mark) *sweep {
	at := parseCursor(after)
	if since != 0 || at.phase == cursorRequest || before.incarnation == 0 {
		return nil
	}
	w := &sweep{dc: d.cfg.Name, life: before.incarnation, held: map[life]int64{}, after: at.key}
	for _, m := range held {
		w.held[life{m.Origin, m.Incarnation}] = m.Revision
	}
	to := parseCursor(e.last)
	w.last, w.end = to.key, e.done || to.phase != cursorKey
	if at.phase == cursorSystem {
		w.system, w.after, w.last = true, []byte(at.name), []byte(to.name)
		w.end = e.done || to.phase != cursorSystem
	}
	return w
}

func appendSweep(b []byte, w *sweep) []byte {
	m := appendField(nil, sweepDC, []byte(w.dc))
	m = protowire.AppendFixed64(protowire.AppendTag(m, sweepLife, protowire.Fixed64Type), w.life)
	m = appendVarint(m, sweepSystem, protowire.EncodeBool(w.system))
	m = appendField(m, sweepAfter, w.after)
	m = appendField(m, sweepLast, w.last)
	m = appendVarint(m, sweepEnd, protowire.EncodeBool(w.end))
	for l, r := range w.held {
		m = appendField(m, sweepHeld, appendLife(nil, l, r))
	}
	return appendField(b, chunkFieldSweep, m)
}

func decodeSweep(b []byte) (*sweep, error) {
	w := &sweep{held: map[life]int64{}}
	err := chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case sweepDC:
			w.dc = string(raw)
		case sweepLife:
			w.life = n
		case sweepSystem:
			w.system = n != 0
		case sweepAfter:
			w.after = raw
		case sweepLast:
			w.last = raw
		case sweepEnd:
			w.end = n != 0
		case sweepHeld:
			l, r, err := decodeLife(raw)
			w.held[l] = r
			return err
		}
		return nil
	})
	if err == nil && (w.dc == "" || w.life == 0) {
		err = fmt.Errorf("comparison with %q of life %d", w.dc, w.life)
	}
	return w, err
}

// sweep deletes what the backup of this datacenter brought back. It returns the names that it deleted of the
// system table. It leaves graves under the stamp of what is deleted: no other datacenter has that any more, and
// whatever is newer wins.
func (a *applier) sweep(c *chunk) (names []string) {
	r := a.dc.state.restored
	if r == nil || c.sweep == nil {
		return nil
	}
	w := c.sweep
	next := *r
	p := &next.Progress
	first := !w.system && len(w.after) == 0
	if p.DC != w.dc || p.Life != w.life {
		if !first {
			return nil // the beginning was not compared
		}
		*p = progress{DC: w.dc, Life: w.life}
	}
	if w.system {
		names = a.sweepSystem(c, p)
	} else {
		a.sweepKeys(c, p)
	}
	a.setRestored(&next)
	return names
}

func (a *applier) sweepKeys(c *chunk, p *progress) {
	w := c.sweep
	if p.Keys || bytes.Compare(w.after, p.Key) > 0 {
		return
	}
	live := map[string]bool{}
	for i := range c.versions {
		live[string(c.versions[i].Key)] = !c.versions[i].Deleted
	}
	var gone [][]byte
	upTo, whole := w.last, true
	a.batch.EachHead(p.Key, func(key []byte, h *store.Head) bool {
		if !w.end && bytes.Compare(key, w.last) > 0 {
			return false
		}
		if !h.Live || live[string(key)] || !a.dc.state.wasDeleted(&h.Geo, w.held) {
			return true
		}
		gone = append(gone, bytes.Clone(key))
		if len(gone) == maxSweep {
			upTo, whole = gone[len(gone)-1], false
			return false
		}
		return true
	})
	for _, key := range gone {
		h, _ := a.batch.Head(key)
		h.Geo.Seen = bytes.Clone(a.batch.Seen(key))
		a.batch.Delete(key, h.Geo)
	}
	a.swept(len(gone), w.dc)
	if bytes.Compare(upTo, p.Key) > 0 {
		p.Key = bytes.Clone(upTo)
	}
	p.Keys = w.end && whole
}

func (a *applier) sweepSystem(c *chunk, p *progress) (names []string) {
	w := c.sweep
	if !p.Keys || p.Done || string(w.after) > p.Name {
		return nil
	}
	live := map[string]bool{}
	for i := range c.system {
		live[c.system[i].Name] = !c.system[i].Deleted
	}
	for _, e := range a.batch.EachSystem("") {
		beyond := !w.end && e.Name > string(w.last)
		if beyond || e.Name <= p.Name || e.Deleted || live[e.Name] || !a.dc.state.wasDeleted(&e.Geo, w.held) {
			continue
		}
		a.batch.DeleteSystem(e.Name, e.Geo)
		names = append(names, e.Name)
	}
	a.swept(len(names), w.dc)
	p.Name, p.Done = max(p.Name, string(w.last)), w.end
	return names
}

func (a *applier) swept(n int, from string) {
	if n == 0 {
		return
	}
	a.dc.metrics.swept.Add(float64(n))
	a.dc.log.Warn("deleted what a backup had brought back", "entries", n, "deleted_at", from)
}

// wasDeleted says whether a datacenter without a live state of something, having applied what it held, must
// have deleted it after this write. Which life of the origin the write is of is not known, so the other one must
// hold every life of it as far as the write may be in it; only the present life of this datacenter can be told
// from those before, by its revisions.
func (s *state) wasDeleted(g *store.Geo, held map[life]int64) bool {
	known := false
	covers := func(l life, here int64) bool {
		own := l.incarnation == s.incarnation
		if l.origin != g.Origin || own && g.OriginRevision <= s.restored.Revision {
			return true
		}
		known = true
		return held[l] >= min(g.OriginRevision, here)
	}
	for origin, p := range s.positions {
		if !covers(life{origin, p.Incarnation}, p.Revision) {
			return false
		}
	}
	for l, p := range s.past {
		if !covers(l, p.Revision) {
			return false
		}
	}
	for l, r := range s.reach {
		if !covers(l, r) {
			return false
		}
	}
	return known
}

// lifeOf is the present life of a datacenter by its marks; 0 when they do not say.
func lifeOf(marks []event.Mark, name string) uint64 {
	for _, m := range marks {
		if m.Origin == name && !m.Past {
			return m.Incarnation
		}
	}
	return 0
}
