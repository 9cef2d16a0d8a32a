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
	takes   func() wire.Reader  // what everyone takes who may read the next frames
	live    bool                // and not a difference, which is paced by acks
}

func newShipper(l *lead, way, subject string, to []string, window *semaphore.Weighted, takes func() wire.Reader) *shipper {
	limits := wire.Limits{Part: l.cfg.PartBytes, Run: l.cfg.RunBytes, Bundle: l.cfg.BundleBytes}
	var readers []*wire.Verifier
	for _, peer := range to {
		readers = append(readers, l.verifiers[peer])
	}
	return &shipper{lead: l, packer: wire.NewPacker(l.signer, readers, limits), way: way, subject: subject, window: window, takes: takes}
}

// published are frames of one shipment on their way into the stream.
type published struct {
	frames  []indexEntry
	writes  int
	begins  bool  // they can be read without those before them
	bytes   int64 // of all messages
	taken   int64 // from the window
	futures []jetstream.PubAckFuture
}

// last is the last revision of the frames.
func (p *published) last() int64 { return p.frames[len(p.frames)-1].last }

// publish packs the first of some frames, and those behind it that may share its shipment, and sends the parts without waiting
// for JetStream's answers. The bytes stay taken from the window until the caller releases them.
func (s *shipper) publish(ctx context.Context, frames []event.Sealed) (published, error) {
	s.packer.Unawaited = s.live && s.awaits.quiet(s.cfg.Clock())
	failed := func(err error) (published, error) {
		return published{}, fmt.Errorf("pack what is behind %d: %w", frames[0].PrevRevision, err)
	}
	packed, err := s.packer.Pack(frames, s.takes())
	if err != nil {
		return failed(err)
	}
	frames = frames[:packed.Frames]
	p := published{begins: packed.Begins}
	raw := 0
	for i := range frames {
		f := &frames[i]
		p.frames = append(p.frames, indexEntry{prev: f.PrevRevision, last: f.Last, hash: f.Hash, run: packed.Run})
		p.writes += f.Txns
		raw += len(f.Bytes)
	}
	if err := s.send(ctx, &p, packed.Parts); err != nil {
		return published{}, err
	}
	s.metrics.shipmentsPacked.WithLabelValues(s.way).Inc()
	s.metrics.framesPacked.WithLabelValues(s.way, packed.Codec.Label()).Add(float64(len(frames)))
	s.metrics.bytesPacked.WithLabelValues(s.way, packed.Codec.Label()).Add(float64(raw))
	if err := s.packer.Learn(frames); err != nil {
		if s.window != nil {
			s.window.Release(p.taken)
		}
		return failed(err)
	}
	return p, nil
}

// shipped counts frames that JetStream has taken.
func (s *shipper) shipped(p *published) {
	s.metrics.framesShipped.WithLabelValues(s.way).Add(float64(len(p.frames)))
	s.metrics.bytesShipped.WithLabelValues(s.way).Add(float64(p.bytes))
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
