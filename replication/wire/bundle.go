package wire

import (
	"bytes"
	"fmt"
	"slices"

	"geogate/replication/event"
)

// bundle are frames that share a shipment: each continues the one before. What a message and its ack cost, they
// cost once.
type bundle struct {
	frames []event.Sealed // at least one
	more   []byte         // the bytes of those behind the first, each without its prev_hash; the packer's memory
	sizes  []uint32       // of those in more
}

// gather takes the first of some frames, and those behind it that may go with it.
func (p *Packer) gather(frames []event.Sealed, by Reader) bundle {
	b := bundle{frames: frames[:1], more: p.memory.more[:0]}
	size := len(frames[0].Bytes)
	for i := 1; i < len(frames) && by.Zstd && by.Bundles; i++ {
		size += len(frames[i].Bytes)
		if size > p.limits.Bundle || frames[i].PrevHash != frames[i-1].Hash {
			break
		}
		before, ok := len(b.more), false
		if b.more, ok = event.AppendWithoutPrevHash(b.more, frames[i].Bytes); !ok {
			break
		}
		b.frames, b.sizes = frames[:i+1], append(b.sizes, uint32(len(b.more)-before))
	}
	p.memory.more = b.more
	return b
}

func (b *bundle) first() *event.Sealed { return &b.frames[0] }

func (b *bundle) last() *event.Sealed { return &b.frames[len(b.frames)-1] }

// bytes are those of all frames as they are sent uncompressed.
func (b *bundle) bytes() int { return len(b.first().Bytes) + len(b.more) }

// plain is the bundle uncompressed.
func (b *bundle) plain() *Shipment {
	f := b.first()
	if len(b.frames) == 1 {
		return &Shipment{
			Origin: f.Origin, Incarnation: f.Incarnation, PrevRevision: f.PrevRevision, LastRevision: f.Last,
			RawBytes: uint64(len(f.Bytes)), Data: f.Bytes,
		}
	}
	return &Shipment{
		RawBytes: uint64(b.bytes()), Data: slices.Concat(f.Bytes, b.more), FrameHash: hashHead(b.last().Hash), MoreFrames: b.sizes,
	}
}

// open cuts what the codec gave into frames, copies and opens them. before is the hash of the frame before the first one.
func (s *Shipment) open(raw []byte, before event.Hash) ([]event.Sealed, error) {
	more := uint64(0)
	for _, n := range s.MoreFrames {
		more += uint64(n)
	}
	if more >= uint64(len(raw)) && more > 0 {
		return nil, fmt.Errorf("%w: frames of %d bytes behind the first one, there are %d in all", ErrMessage, more, len(raw))
	}
	frames := make([]event.Sealed, 0, 1+len(s.MoreFrames))
	one, rest := raw[:uint64(len(raw))-more], raw[uint64(len(raw))-more:]
	for i := 0; ; i++ {
		if i > 0 || s.WithoutPrevHash {
			if one = event.WithPrevHash(one, before); one == nil {
				return nil, fmt.Errorf("%w: what has no prev_hash is no frame", ErrMessage)
			}
		} else {
			one = bytes.Clone(one)
		}
		_, sealed, err := event.Open(one)
		if err != nil {
			return nil, err
		}
		frames, before = append(frames, sealed), sealed.Hash
		if i == len(s.MoreFrames) {
			return frames, nil
		}
		one, rest = rest[:s.MoreFrames[i]], rest[s.MoreFrames[i]:]
	}
}
