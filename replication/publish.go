package replication

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"geogate/replication/event"
	"geogate/replication/wire"
)

// publish packs a frame and sends its parts without waiting for JetStream's answers. The bytes stay taken
// from the window until the caller releases them; a nil window takes none.
func publish(ctx context.Context, l *lead, window *semaphore.Weighted, subject string, f *event.Sealed) (published, error) {
	parts, err := wire.Pack(l.signer, f, l.cfg.PartBytes)
	if err != nil {
		return published{}, fmt.Errorf("pack frame %d..%d: %w", f.First, f.Last, err)
	}
	p := published{frame: indexEntry{prev: f.PrevRevision, last: f.Last, hash: f.Hash}}
	for _, part := range parts {
		p.bytes += int64(len(part))
	}
	if window != nil {
		p.taken = min(p.bytes, int64(l.cfg.PublishBytes)) // a frame larger than the window goes alone
		if err := window.Acquire(ctx, p.taken); err != nil {
			return published{}, context.Cause(ctx)
		}
	}
	for _, part := range parts {
		// No retries by the library: they would come after what was published meanwhile, out of order.
		future, err := l.js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: part},
			jetstream.WithStallWait(30*time.Second), jetstream.WithRetryAttempts(0))
		if err != nil {
			if window != nil {
				window.Release(p.taken)
			}
			return published{}, fmt.Errorf("publish: %w", err)
		}
		p.futures = append(p.futures, future)
	}
	return p, nil
}

// await returns the sequences of the first and last message. JetStream's answers have their own timeout.
func await(ctx context.Context, futures []jetstream.PubAckFuture) (first, last uint64, err error) {
	for i, f := range futures {
		select {
		case ack := <-f.Ok():
			if i == 0 {
				first = ack.Sequence
			} else if ack.Sequence <= last {
				return 0, 0, fmt.Errorf("%w: %d after %d", errOutOfOrder, ack.Sequence, last)
			}
			last = ack.Sequence
		case err := <-f.Err():
			return 0, 0, fmt.Errorf("publish: %w", err)
		case <-ctx.Done():
			return 0, 0, context.Cause(ctx)
		}
	}
	return first, last, nil
}
