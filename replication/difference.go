package replication

import (
	"context"
	"errors"
	"fmt"

	"geogate/replication/wire"
)

// difference publishes frames of the chain on disk for one peer that is too far behind for the live ones,
// up to where those begin. It runs ahead of what the peer has confirmed by no more than DifferenceBytes, so
// a peer that catches up slowly neither fills the stream nor holds up the others.
type difference struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// stop ends it and waits; a nil difference is stopped.
func (d *difference) stop() {
	if d == nil {
		return
	}
	d.cancel(errDiffStopped)
	<-d.done
}

// startDifference begins to publish what is behind a revision. It runs until it is done or stopped; its
// source stops it at the latest when the lead ends.
func startDifference(l *lead, peer string, from, until int64) *difference {
	ctx, cancel := context.WithCancelCause(context.Background())
	d := &difference{cancel: cancel, done: make(chan struct{})}
	l.running.Go(func() {
		defer close(d.done)
		defer cancel(nil)
		err := shipDifference(ctx, l, peer, from, until)
		log := l.cfg.Logger.With("peer", peer, "from", from, "until", until)
		switch {
		case errors.Is(err, errDiffStopped):
		case err != nil:
			l.metrics.publishErrors.Inc()
			log.Warn("difference failed", "error", err)
		default:
			log.Info("difference shipped")
		}
	})
	return d
}

func shipDifference(ctx context.Context, l *lead, peer string, cur, until int64) error {
	unconfirmed := ahead{limit: int64(l.cfg.DifferenceBytes)}
	takes := l.takes(l.peers[peer])
	// No window: what is read at once bounds what is in flight.
	diff := newShipper(l, "difference", diffSubject(l.cfg.Local, peer), []string{peer}, nil, func() wire.Reader { return takes })
	for cur < until {
		frames, err := l.cfg.Chain.Frames(l.cfg.Local, cur, l.cfg.ReadBytes)
		if err != nil {
			return fmt.Errorf("read the chain behind %d: %w", cur, err)
		}
		if len(frames) == 0 {
			return fmt.Errorf("%w: nothing behind %d", ErrTrimmed, cur)
		}
		var batch []published
		for len(frames) > 0 && cur < until {
			if frames[0].PrevRevision != cur {
				return fmt.Errorf("%w: chain continues at %d, asked behind %d", ErrTrimmed, frames[0].PrevRevision, cur)
			}
			p, err := diff.publish(ctx, frames)
			if err != nil {
				return err
			}
			frames, cur = frames[len(p.frames):], p.last()
			unconfirmed.add(cur, p.bytes)
			batch = append(batch, p)
		}
		for _, p := range batch {
			if _, _, err := await(ctx, p.futures); err != nil {
				return err
			}
			diff.shipped(&p)
		}
		if err := unconfirmed.wait(ctx, l, peer); err != nil {
			return err
		}
	}
	return nil
}

// ahead is what has been published and not confirmed.
type ahead struct {
	limit int64
	bytes int64
	sent  []sentFrame
}

type sentFrame struct{ last, bytes int64 }

func (a *ahead) add(last, bytes int64) {
	a.sent = append(a.sent, sentFrame{last: last, bytes: bytes})
	a.bytes += bytes
}

// wait returns once less than the limit is unconfirmed.
func (a *ahead) wait(ctx context.Context, l *lead, peer string) error {
	for {
		changed := l.tracker.Changed()
		acked, _ := l.tracker.Acked(peer)
		for len(a.sent) > 0 && a.sent[0].last <= acked {
			a.bytes -= a.sent[0].bytes
			a.sent = a.sent[1:]
		}
		if a.bytes < a.limit {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
