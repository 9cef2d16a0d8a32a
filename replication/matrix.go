package replication

import (
	"context"
	"maps"

	"geogate/replication/event"
	"geogate/replication/wire"
)

// matrix is the vector of each DC that is known.
func (l *lead) matrix() map[string]event.Vector {
	lives := l.lives()
	m := map[string]event.Vector{l.cfg.Local: l.ownVector()}
	for _, name := range l.data {
		p := l.peers[name]
		if v := vectorOf(name, l.marksOf(p), lives); v != nil {
			m[name] = v
		}
	}
	return m
}

func (l *lead) marksOf(p *peer) []*wire.Watermark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.marks
}

// lives are the present incarnations of all origins, as far as they are known here.
func (l *lead) lives() map[string]uint64 {
	lives := map[string]uint64{l.cfg.Local: l.cfg.Incarnation()}
	for name := range l.peers {
		lives[name] = l.cfg.Chain.Position(name).Incarnation
	}
	return lives
}

// vectorOf reads a DC's marks. A mark of an incarnation that is not the one known here says nothing about
// the frames kept here, so it counts as none; of the DC's own chain, it makes the whole row unknown.
func vectorOf(name string, marks []*wire.Watermark, lives map[string]uint64) event.Vector {
	if marks == nil {
		return nil
	}
	v := event.Vector{}
	for _, w := range marks {
		known := lives[w.Origin]
		switch {
		case w.Incarnation == known, w.Origin == name && known == 0 && !w.Past:
			v[w.Origin] = w.Revision
		case w.Origin == name && !w.Past:
			return nil
		}
	}
	return v
}

// confirm hands the matrix on when it has changed, and every row is known: a DC that is not heard from
// might lack anything, so nothing may be dropped.
func (l *lead) confirm(ctx context.Context) {
	tick := l.beat(l.cfg.ConfirmInterval)
	defer tick.stop()
	var last, heard map[string]event.Vector
	for {
		select {
		case <-tick.C:
			tick.next()
		case <-ctx.Done():
			return
		}
		lives := l.lives()
		m := l.matrix()
		if !maps.EqualFunc(m, heard, maps.Equal) {
			heard = cloned(m)
			l.cfg.Confirmer.Heard(heard, lives)
		}
		if len(m) != 1+len(l.data) || maps.EqualFunc(m, last, maps.Equal) || !l.sameHistory() {
			continue
		}
		callCtx, cancel := context.WithTimeout(ctx, l.cfg.ApplyTimeout)
		err := l.cfg.Confirmer.Confirm(callCtx, cloned(m), lives)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				l.cfg.Logger.Warn("confirm what all datacenters have", "error", err)
			}
			continue
		}
		last = m
	}
}

func cloned(m map[string]event.Vector) map[string]event.Vector {
	out := make(map[string]event.Vector, len(m))
	for name, v := range m {
		out[name] = v.Clone()
	}
	return out
}

// sameHistory says whether every DC has the same of the lives that have ended. As long as one lacks some of
// those, it may still get puts that are older than a tombstone that all seem to have.
func (l *lead) sameHistory() bool {
	if l.cfg.Snapshots == nil {
		return true
	}
	own, _, _ := l.cfg.Snapshots.Marks()
	want := history(wire.FromMarks(own, false))
	for _, name := range l.data {
		if !maps.Equal(want, history(l.marksOf(l.peers[name]))) {
			return false
		}
	}
	return true
}

// place is one life of an origin.
type place struct {
	origin      string
	incarnation uint64
}

func history(marks []*wire.Watermark) map[place]int64 {
	h := map[place]int64{}
	for _, w := range marks {
		if w.Past {
			h[place{w.Origin, w.Incarnation}] = w.Revision
		}
	}
	return h
}
