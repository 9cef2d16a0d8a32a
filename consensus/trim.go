package consensus

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/wal/walpb"
)

// trimmer does for the loop what may wait for a disk: it asks the state machine how far it is durable, and
// deletes old segments.
type trimmer struct {
	*Node
	due      chan struct{} // capacity 1: the durable position may have moved
	released chan uint64   // capacity 1, newest wins: segments below this index are no longer locked
}

// remind is called by the loop with each tick. Where all that was applied is durable there is nothing to ask for.
func (t *trimmer) remind() {
	if t.applied.get() > t.mem.durable.Load().index {
		signal(t.due)
	}
}

// run polls, as it is reminded to, until ctx ends.
func (t *trimmer) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.due:
			if err := t.poll(); err != nil {
				return err
			}
		case index := <-t.released:
			if err := t.removeSegments(index); err != nil {
				t.log.Warn("deleting old log segments failed; trying again later", "error", err)
			}
		}
	}
}

// poll publishes the durable position.
func (t *trimmer) poll() error {
	d := t.cfg.StateMachine.Durable()
	if old := t.mem.durable.Load(); d.Index <= old.index {
		return nil
	}
	p := &position{index: d.Index, term: d.Term, size: t.cfg.StateMachine.Size()}
	if len(d.ConfState) == 0 {
		return fmt.Errorf("%w: the state machine at index %d does not keep the membership it was given by SetConf", ErrBroken, d.Index)
	}
	if err := p.conf.Unmarshal(d.ConfState); err != nil {
		return fmt.Errorf("%w: the state machine's membership at index %d can't be decoded: %w", ErrBroken, d.Index, err)
	}
	t.mem.durable.Store(p)
	return nil
}

// removeSegments deletes the segments that hold nothing at or behind index.
func (t *trimmer) removeSegments(index uint64) error {
	dir := filepath.Join(t.cfg.Dir, "wal")
	segments, err := listSegments(dir)
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(segments) && segments[i+1].index < index; i++ {
		if err := os.Remove(filepath.Join(dir, segments[i].name)); err != nil {
			return err
		}
		t.log.Debug("deleted log segment", "segment", segments[i].name, "durable", index)
	}
	return nil
}

// trim is called by the loop now and then. It shrinks the log in memory, and once enough was written it records
// on disk that the state machine needs nothing before its durable position.
func (l *loop) trim() error {
	d := l.mem.durable.Load()
	if d.index == 0 {
		return nil
	}
	if err := l.shrink(d); err != nil {
		return err
	}
	if l.written < int64(l.cfg.TruncateBytes) || d.index <= l.recorded || d.index > l.hard.Commit {
		return nil
	}
	if first, err := l.mem.FirstIndex(); err != nil {
		return err
	} else if d.index+1 >= first {
		if term, err := l.mem.Term(d.index); err != nil || term != d.term {
			return fmt.Errorf("%w: the state machine is durable at index %d term %d, the log has term %d there: %w", ErrBroken, d.index, d.term, term, err)
		}
	}
	// The state goes first: a record counts only once the log says that its index is committed. Both are on
	// disk before anything that they replace is deleted.
	l.pulseBegin(l.hard)
	defer l.pulse.end()
	err := l.wal.Save(l.hard, nil)
	if err == nil {
		err = l.wal.SaveSnapshot(walpb.Snapshot{Index: d.index, Term: d.term, ConfState: &d.conf})
	}
	if err == nil {
		err = l.wal.ReleaseLockTo(d.index)
	}
	if err != nil {
		return fmt.Errorf("%w: record of the durable position: %w", ErrLogWrite, err)
	}
	l.recorded, l.written = d.index, 0
	select {
	case <-l.trimmer.released: // an older index
	default:
	}
	l.trimmer.released <- d.index
	return nil
}
