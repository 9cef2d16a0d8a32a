package store

import (
	"fmt"
	"slices"
	"sort"
	"time"

	bolt "go.etcd.io/bbolt"

	"geogate/replication/event"
)

// chain is the retained suffix of one origin's frames. Bytes of flushed frames are on disk only.
type chain struct {
	origin      string
	incarnation uint64
	head        int64 // last revision of the newest frame ever appended
	floor       int64 // last revision of the newest frame trimmed; frames continue it
	plain       int64 // frames up to here lie on disk as format 1 wrote them
	frames      []frame
	txns, bytes int64                       // cumulative, of all frames appended since Open
	gone        struct{ txns, bytes int64 } // the part of these that is no longer retained

	// What the disk still holds of frames that are gone: all of the chain before (reset), or frames up to
	// the floor (trim).
	reset, trim bool
}

// frame is what memory keeps of a retained frame.
type frame struct {
	prev, last  int64
	stamp       event.Stamp
	txns, bytes int64         // of the chain up to and including this frame
	sealed      *event.Sealed // nil once on disk
}

// Backlog measures the frames behind a place in a chain.
type Backlog struct {
	Txns, Bytes int64
	Oldest      time.Time // commit of the first frame on its origin's clock; zero when there is none
}

// append adds the next frame. A frame of another incarnation, or one that does not continue the chain,
// makes what was retained useless: it starts the chain anew.
func (c *chain) append(s *event.Sealed) {
	if s.Incarnation != c.incarnation || s.PrevRevision != c.head {
		c.incarnation, c.floor, c.frames = s.Incarnation, s.PrevRevision, nil
		c.gone.txns, c.gone.bytes = c.txns, c.bytes
		c.reset, c.plain = true, 0
	}
	c.head = s.Last
	c.txns += int64(s.Txns)
	c.bytes += int64(len(s.Bytes))
	c.frames = append(c.frames, frame{
		prev: s.PrevRevision, last: s.Last, stamp: s.Stamp, txns: c.txns, bytes: c.bytes, sealed: s,
	})
}

// drop forgets the frames up to a revision and says whether there were any.
func (c *chain) drop(upTo int64) bool {
	n := c.after(upTo)
	if n == 0 {
		return false
	}
	last := &c.frames[n-1]
	c.floor, c.gone.txns, c.gone.bytes = last.last, last.txns, last.bytes
	clear(c.frames[:n]) // so that the frames' bytes can go
	if c.frames = c.frames[n:]; len(c.frames) == 0 {
		c.frames = nil
	}
	c.trim = true
	return true
}

// after is the index of the first frame that goes beyond a revision.
func (c *chain) after(revision int64) int {
	return sort.Search(len(c.frames), func(i int) bool { return c.frames[i].last > revision })
}

// unflushed are the frames that are only in memory: always the newest ones.
func (c *chain) unflushed() []*event.Sealed {
	var out []*event.Sealed
	for i := len(c.frames) - 1; i >= 0 && c.frames[i].sealed != nil; i-- {
		out = append(out, c.frames[i].sealed)
	}
	slices.Reverse(out)
	return out
}

// flushed lets go of the bytes of frames that are on disk now.
func (c *chain) flushed(written []*event.Sealed) {
	for _, s := range written {
		if i := c.after(s.Last - 1); i < len(c.frames) && c.frames[i].sealed == s {
			c.frames[i].sealed = nil
		}
	}
}

// AppendFrame adds a frame to its origin's chain.
func (b *Batch) AppendFrame(sealed event.Sealed) {
	s := b.s
	c := s.chains[sealed.Origin]
	if c == nil {
		c = &chain{origin: sealed.Origin, incarnation: sealed.Incarnation, head: sealed.PrevRevision, floor: sealed.PrevRevision}
		s.chains[sealed.Origin] = c
	}
	c.append(&sealed)
	s.active.chains[sealed.Origin] = c
	s.active.bytes += int64(len(sealed.Bytes)) + overhead
}

// TrimFrames drops the frames of an origin up to a revision. One that no flush has met is never written.
func (b *Batch) TrimFrames(origin string, upTo int64) {
	if c := b.s.chains[origin]; c != nil && c.drop(upTo) {
		b.s.active.chains[origin] = c
	}
}

// ResetChain makes an origin's chain begin behind a revision of one of its incarnations, without any frame:
// what came before did not arrive as frames, so there is a hole, and nobody can be served across it.
func (b *Batch) ResetChain(origin string, incarnation uint64, revision int64) {
	s := b.s
	c := s.chains[origin]
	if c == nil {
		c = &chain{origin: origin}
		s.chains[origin] = c
	}
	c.incarnation, c.head, c.floor, c.frames = incarnation, revision, revision, nil
	c.gone.txns, c.gone.bytes = c.txns, c.bytes
	c.reset, c.plain = true, 0
	s.active.chains[origin] = c
	s.active.bytes += overhead
}

// Excess is the revision up to which an origin's chain must be trimmed so that its frames take at most a
// number of bytes and none was committed before a moment on its origin's clock. The newest frame stays in
// any case. The incarnation is the chain's; ok is false when nothing is in excess.
func (s *Store) Excess(origin string, maxBytes int64, oldest time.Time) (upTo int64, incarnation uint64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.chains[origin]
	if c == nil || len(c.frames) < 2 {
		return 0, 0, false
	}
	last := len(c.frames) - 1
	n := sort.Search(last, func(i int) bool {
		return c.bytes-c.frames[i].bytes <= maxBytes && !c.frames[i+1].stamp.Time().Before(oldest)
	})
	// Frame n is the last one to go, unless nothing is too much or too old as it is.
	if c.bytes-c.gone.bytes <= maxBytes && !c.frames[0].stamp.Time().Before(oldest) {
		return 0, 0, false
	}
	return c.frames[min(n, last-1)].last, c.incarnation, true
}

// Frames returns the retained frames of origin that follow the place after, in order: as many as fit into
// maxBytes, and at least one if there is any. It fails with [ErrTrimmed] when the next frame is not kept.
func (s *Store) Frames(origin string, after int64, maxBytes int) ([]event.Sealed, error) {
	s.mu.RLock()
	if err := s.readableLocked(); err != nil {
		s.mu.RUnlock()
		return nil, err
	}
	c := s.chains[origin]
	if c == nil {
		s.mu.RUnlock()
		return nil, nil
	}
	if after < c.floor {
		s.mu.RUnlock()
		return nil, c.trimmed(after)
	}
	wanted, plain := c.upTo(c.after(after), maxBytes), c.plain
	out := make([]event.Sealed, len(wanted))
	var tx *bolt.Tx
	for i := range wanted {
		if wanted[i].sealed != nil {
			out[i] = *wanted[i].sealed
			continue
		}
		if tx == nil {
			var err error
			if tx, err = s.db.Begin(false); err != nil {
				s.mu.RUnlock()
				return nil, fmt.Errorf("read frames of %s: %w", origin, err)
			}
		}
	}
	s.mu.RUnlock()
	if tx == nil {
		return out, nil
	}
	defer rollback(tx)
	err := s.reading(func() (err error) {
		for i := range wanted {
			if wanted[i].sealed == nil && err == nil {
				out[i], err = readFrame(tx, origin, wanted[i].last, wanted[i].last <= plain)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// upTo copies the frames from index i on that fit into maxBytes, the first in any case.
func (c *chain) upTo(i, maxBytes int) []frame {
	if i == len(c.frames) {
		return nil
	}
	n, start := i+1, c.gone.bytes
	if i > 0 {
		start = c.frames[i-1].bytes
	}
	for n < len(c.frames) && c.frames[n].bytes-start <= int64(maxBytes) {
		n++
	}
	return slices.Clone(c.frames[i:n])
}

// Backlog measures the retained frames of origin behind a place. It fails with [ErrTrimmed] when some of
// what lies behind it is not kept and so can't be counted.
func (s *Store) Backlog(origin string, after int64) (Backlog, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return Backlog{}, err
	}
	c := s.chains[origin]
	if c == nil {
		return Backlog{}, nil
	}
	if after < c.floor {
		return Backlog{}, c.trimmed(after)
	}
	i := c.after(after)
	if i == len(c.frames) {
		return Backlog{}, nil
	}
	before := c.gone
	if i > 0 {
		before.txns, before.bytes = c.frames[i-1].txns, c.frames[i-1].bytes
	}
	return Backlog{Txns: c.txns - before.txns, Bytes: c.bytes - before.bytes, Oldest: c.frames[i].stamp.Time()}, nil
}

func (c *chain) trimmed(after int64) error {
	return fmt.Errorf("%w: %s behind %d, frames are kept behind %d", ErrTrimmed, c.origin, after, c.floor)
}
