package replication

import (
	"context"
	"errors"
	"fmt"

	"geogate/replication/homes"
)

// ErrSetAside says that a write is committed in this DC, and that a decision on the keyspace's home leaves it out: it
// was set aside here and is applied nowhere else.
var ErrSetAside = errors.New("the write was set aside by a move of the keyspace's home")

// SetAsideError is [ErrSetAside] with what is known.
type SetAsideError struct {
	Keyspace string
	Revision int64       // of the write
	Epoch    uint64      // that it was written in
	Cut      int64       // up to which revision writes of that epoch count; 0 when none does
	Decided  homes.Value // the decision
	Local    string      // this DC
}

func (e *SetAsideError) Error() string {
	return fmt.Sprintf("%v: committed in %s only at revision %d, then set aside by the move of %q to %s, epoch %d, which counts writes of epoch %d up to revision %d; see geogate dr quarantine",
		ErrSetAside, e.Local, e.Revision, e.Keyspace, e.Decided.Home.DC, e.Decided.Epoch, e.Epoch, e.Cut)
}

func (e *SetAsideError) Unwrap() error { return ErrSetAside }

type tenureKey struct{}

type tenureOf struct {
	keyspace string
	epoch    uint64
}

// WithTenure names the single-writer keyspace and the epoch of the write that [Engine.Wait] waits for. Then the wait
// ends with [ErrSetAside] once this DC has learnt a decision that leaves the write out; without it, an ack of what
// was set aside would pass for one.
func WithTenure(ctx context.Context, keyspace string, epoch uint64) context.Context {
	return context.WithValue(ctx, tenureKey{}, tenureOf{keyspace, epoch})
}

// settledFor says whether a decision leaves a write out; nil for writes of other keyspaces.
func (e *Engine) settledFor(ctx context.Context, revision int64) func() error {
	t, ok := ctx.Value(tenureKey{}).(tenureOf)
	if !ok || e.cfg.Homes == nil {
		return nil
	}
	return func() error {
		reg, _ := e.cfg.Homes.Register(t.keyspace)
		v := reg.State.Decided
		if t.epoch >= v.Epoch {
			return nil
		}
		err := &SetAsideError{Keyspace: t.keyspace, Revision: revision, Epoch: t.epoch, Decided: v, Local: e.cfg.Local}
		life := e.cfg.Homes.Life()
		for _, past := range v.Past {
			if past.Epoch == t.epoch && past.Home == life {
				if revision <= past.Cut {
					return nil
				}
				err.Cut = past.Cut
			}
		}
		return err
	}
}

// settle ends the waits for writes that a decision leaves out. It comes before any ack counts that was sent after the
// decision: a peer sends one above the cut only when it has heard that this DC knows the decision.
func (l *lead) settle() {
	if l.registrar == nil {
		return
	}
	sum := uint64(0)
	for _, r := range l.cfg.Homes.Registers() {
		sum += r.State.Decided.Epoch // each only grows
	}
	if l.settled.Swap(sum) != sum {
		l.tracker.Settle()
	}
}

// watchHomes settles without waiting for an ack.
func (l *lead) watchHomes(ctx context.Context) {
	for ctx.Err() == nil {
		changed := l.cfg.Chain.Changed()
		l.settle()
		select {
		case <-changed:
			pause(ctx, l.cfg.AckMinInterval) // whatever else is applied meanwhile shares the next look
		case <-ctx.Done():
		}
	}
}
