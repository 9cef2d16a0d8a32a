package store

// garbage is the versions that compaction will drop, in the order in which they can go.
type garbage struct {
	queue doomedQueue // ascending by revision
	held  []doomed    // tombstones at the compacted revision itself: a watch may still start there
}

// doomed is a version of an item that is due when the compacted revision reaches its own: the revision that replaced
// it. A tombstone is due one revision after it was written, since the one at the compacted revision stays.
type doomed struct {
	at   int64 // the revision, times two, and one more for a tombstone: there may be millions of these
	item *item
}

func (d *doomed) revision() int64 { return d.at >> 1 }
func (d *doomed) tombstone() bool { return d.at&1 != 0 }

func (g *garbage) add(replacedAt int64, it *item) {
	g.queue.push(doomed{at: replacedAt << 1, item: it})
}

func (g *garbage) addTombstone(at int64, it *item) {
	g.queue.push(doomed{at: at<<1 | 1, item: it})
}

func (g *garbage) len() int { return g.queue.count + len(g.held) }

// next takes an entry that is due at a compacted revision.
func (g *garbage) next(compacted int64) (*item, bool) {
	if len(g.held) > 0 && g.held[0].revision() < compacted {
		it := g.held[0].item
		if g.held = g.held[1:]; len(g.held) == 0 {
			g.held = nil
		}
		return it, true
	}
	for g.queue.due(compacted) {
		d := g.queue.pop()
		if d.tombstone() && d.revision() == compacted {
			g.held = append(g.held, d)
			continue
		}
		return d.item, true
	}
	return nil, false
}

// due says whether next would find something.
func (g *garbage) due(compacted int64) bool {
	if len(g.held) > 0 && g.held[0].revision() < compacted {
		return true
	}
	return g.queue.due(compacted)
}

// doomedQueue is a queue in pieces: it grows without being copied, and what was taken goes piece by piece.
type doomedQueue struct {
	pieces [][]doomed // none is empty
	taken  int        // of the first piece
	count  int
}

const (
	firstPiece = 16 // entries; each piece has room for twice as many as the one before
	lastPiece  = 1024
)

func (q *doomedQueue) push(d doomed) {
	last := len(q.pieces) - 1
	if last < 0 || len(q.pieces[last]) == cap(q.pieces[last]) {
		size := firstPiece
		if last >= 0 {
			size = min(2*cap(q.pieces[last]), lastPiece)
		}
		q.pieces = append(q.pieces, make([]doomed, 0, size))
		last++
	}
	q.pieces[last] = append(q.pieces[last], d)
	q.count++
}

func (q *doomedQueue) due(compacted int64) bool {
	return q.count > 0 && q.pieces[0][q.taken].revision() <= compacted
}

// pop takes the first one; there must be one.
func (q *doomedQueue) pop() doomed {
	d := q.pieces[0][q.taken]
	q.pieces[0][q.taken].item = nil
	q.count--
	if q.taken++; q.taken == len(q.pieces[0]) {
		q.pieces[0], q.taken = nil, 0
		if q.pieces = q.pieces[1:]; len(q.pieces) == 0 {
			q.pieces = nil
		}
	}
	return d
}

// each calls fn for all, in order.
func (q *doomedQueue) each(fn func(*doomed)) {
	taken := q.taken
	for _, piece := range q.pieces {
		for i := taken; i < len(piece); i++ {
			fn(&piece[i])
		}
		taken = 0
	}
}
