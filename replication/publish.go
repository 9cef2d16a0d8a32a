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

// shipper publishes frames of this DC's chain, in order.
type shipper struct {
	*lead
	packer  *wire.Packer
	way     string // of the frames, for the metrics
	subject string
	window  *semaphore.Weighted // nil takes none
	zstd    func() bool         // whether everyone who may read the next frame takes zstd
	live    bool                // and not a difference, which is paced by acks
}

func newShipper(l *lead, way, subject string, window *semaphore.Weighted, zstd func() bool) *shipper {
	return &shipper{
		lead: l, packer: wire.NewPacker(l.signer, l.cfg.PartBytes, l.cfg.RunBytes), way: way, subject: subject, window: window, zstd: zstd,
	}
}

// publish packs a frame and sends its parts without waiting for JetStream's answers. The bytes stay taken
// from the window until the caller releases them.
func (s *shipper) publish(ctx context.Context, f *event.Sealed) (published, error) {
	s.packer.Unawaited = s.live && s.awaits.quiet(s.cfg.Clock())
	packed, err := s.packer.Pack(f, s.zstd())
	if err != nil {
		return published{}, fmt.Errorf("pack frame %d..%d: %w", f.First, f.Last, err)
	}
	p := published{frame: indexEntry{prev: f.PrevRevision, last: f.Last, hash: f.Hash, run: packed.Run}, begins: packed.Begins}
	if err := s.send(ctx, &p, packed.Parts); err != nil {
		return published{}, err
	}
	s.metrics.framesPacked.WithLabelValues(s.way, packed.Codec.Label()).Inc()
	s.metrics.bytesPacked.WithLabelValues(s.way, packed.Codec.Label()).Add(float64(len(f.Bytes)))
	if err := s.packer.Learn(f); err != nil {
		if s.window != nil {
			s.window.Release(p.taken)
		}
		return published{}, fmt.Errorf("pack frame %d..%d: %w", f.First, f.Last, err)
	}
	return p, nil
}

func (s *shipper) send(ctx context.Context, p *published, parts [][]byte) error {
	for _, part := range parts {
		p.bytes += int64(len(part))
	}
	if s.window != nil {
		p.taken = min(p.bytes, int64(s.cfg.PublishBytes)) // a frame larger than the window goes alone
		if err := s.window.Acquire(ctx, p.taken); err != nil {
			return context.Cause(ctx)
		}
	}
	for _, part := range parts {
		// No retries by the library: they would come after what was published meanwhile, out of order.
		future, err := s.js.PublishMsgAsync(&nats.Msg{Subject: s.subject, Data: part},
			jetstream.WithStallWait(30*time.Second), jetstream.WithRetryAttempts(0))
		if err != nil {
			if s.window != nil {
				s.window.Release(p.taken)
			}
			return fmt.Errorf("publish: %w", err)
		}
		p.futures = append(p.futures, future)
	}
	return nil
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
