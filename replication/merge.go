package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"geogate/replication/event"
	"geogate/replication/wire"
)

// merge is a snapshot of a peer that is being merged here. It survives a lost connection and a change of the
// sender's leader: what was merged stays, and the next request goes on behind it.
type merge struct {
	incarnation uint64 // of the sender, when it was begun
	marks       []event.Mark
	next        int64 // what the next snapshot may name as since
	high        event.Stamp
	after       []byte // keys up to here have been merged
	since       int64
	began       time.Time
	bytes       int64
}

// base is the last snapshot of the peer that was merged completely: the next one may leave out what has not
// changed at the sender since.
type base struct {
	incarnation uint64
	since       int64 // as the sender gave it: opaque here
}

// takeSnapshot merges a full-state snapshot of the peer. Local writes and other origins go on meanwhile.
func (r *receiver) takeSnapshot(ctx context.Context, k *link, why string) error {
	if r.cfg.Snapshots == nil {
		return fmt.Errorf("%w: %s", errNeedsData, why)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(k.lost, func() { cancel(context.Cause(k.lost)) })
	defer stop()
	if r.cfg.Snapshots.Awaits(r.peer.Name) != "" {
		r.base = base{}
		if r.merge != nil && r.merge.since != 0 {
			r.merge = nil
		}
	}
	if r.merge == nil {
		r.merge = &merge{began: r.cfg.Clock()}
		r.cfg.Logger.Warn("a snapshot is taken", "from", r.peer.Name, "reason", why)
		r.metrics.snapshots.WithLabelValues(r.peer.Name, "begun").Inc()
	}
	r.set(ReceiverMerging, why)
	for {
		done, err := r.mergeWindow(ctx, k)
		if errors.Is(err, errNewLife) {
			r.merge, r.base = nil, base{}
			return err
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		if done {
			break
		}
	}
	m := r.merge
	limit, cancelLimit := context.WithTimeout(ctx, r.cfg.ApplyTimeout)
	defer cancelLimit()
	if err := r.cfg.Snapshots.Adopt(limit, r.peer.Name, m.marks, m.high); err != nil {
		if r.cfg.Snapshots.Awaits(r.peer.Name) != "" {
			r.merge = nil // from the beginning
		}
		return fmt.Errorf("adopt the snapshot of %s: %w", r.peer.Name, err)
	}
	r.merge, r.base = nil, base{incarnation: m.incarnation, since: m.next}
	r.metrics.snapshots.WithLabelValues(r.peer.Name, "merged").Inc()
	r.cfg.Logger.Info("snapshot merged", "from", r.peer.Name, "bytes", m.bytes, "seconds", r.cfg.Clock().Sub(m.began).Seconds())
	return nil
}

// mergeWindow asks for the next window, and returns once all of it is merged here.
func (r *receiver) mergeWindow(ctx context.Context, k *link) (done bool, err error) {
	m := r.merge
	cursor := &wire.SnapshotCursor{After: m.after, Incarnation: m.incarnation, Since: m.since}
	if m.incarnation == 0 && r.base.incarnation != 0 {
		cursor.Incarnation, cursor.Since = r.base.incarnation, r.base.since
	}
	var inflight []<-chan error
	settle := func(most int) error {
		for len(inflight) > most {
			late := time.NewTimer(r.cfg.ApplyTimeout)
			select {
			case err := <-inflight[0]:
				late.Stop()
				if err != nil {
					return fmt.Errorf("merge a chunk: %w", err)
				}
				inflight = inflight[1:]
			case <-late.C:
				return fmt.Errorf("%w: chunk of a snapshot", errApplySlow)
			}
		}
		return nil
	}
	f, err := k.fetch(ctx, &wire.FetchRequest{What: &wire.FetchRequest_Snapshot{Snapshot: cursor}},
		func(_ *wire.FetchReply, piece []byte) error {
			if err := settle(r.cfg.ProposeBytes / r.cfg.ChunkBytes); err != nil {
				return err
			}
			result, err := r.cfg.Snapshots.Merge(ctx, piece)
			if err != nil {
				return fmt.Errorf("merge a chunk: %w", err)
			}
			inflight = append(inflight, result)
			m.bytes += int64(len(piece))
			return nil
		})
	if err == nil {
		err = settle(0)
	}
	if err != nil {
		return false, err
	}
	marks, err := wire.Marks(f.first.Vector)
	if err != nil {
		return false, err
	}
	if f.first.Incarnation == 0 || len(marks) == 0 {
		return false, fmt.Errorf("%w: snapshot without marks", wire.ErrMessage)
	}
	if m.incarnation == 0 { // no window is older than the marks of the first
		m.marks = marks
		m.incarnation, m.since = f.first.Incarnation, cursor.Since
		m.next, m.high = f.first.Revision, event.Stamp(f.first.High)
	}
	m.marks, _ = event.Lower(m.marks, marks) // of a home that has moved less may be settled than there was at first
	m.after = f.key
	return f.done, nil
}

// lacking says what of ended lives a DC with these marks has and this one has not: no stream will bring it.
func (l *lead) lacking(marks []*wire.Watermark) (string, bool) {
	if l.cfg.Snapshots == nil {
		return "", false
	}
	own, _, _ := l.cfg.Snapshots.Marks()
	held := map[place]event.Mark{}
	for _, m := range own {
		held[place{m.Origin, m.Incarnation}] = m
	}
	lives := l.lives()
	for _, w := range marks {
		m := held[place{w.Origin, w.Incarnation}]
		if w.Revision <= m.Revision || w.Incarnation == lives[w.Origin] {
			continue
		}
		if w.Past || m.Past || w.Origin == l.cfg.Local {
			return fmt.Sprintf("it has data of an earlier life of %s up to %d, this datacenter up to %d", w.Origin, w.Revision, m.Revision), true
		}
	}
	return "", false
}
