package wire

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"geogate/replication/event"
)

// ErrHistory marks a shipment that is compressed beside frames which its reader has not read.
var ErrHistory = errors.New("the frames that it is compressed beside were not read")

// Unpacker verifies and decompresses the shipments of one origin, and opens the frames in them. It reads in the order of the
// stream, from the beginning of a run on. It belongs to one goroutine.
type Unpacker struct {
	verifier *Verifier
	origin   string
	maxBytes int
	takes    Reader

	dec   *zstd.Decoder // nil until it is needed
	known int           // how much of the history it knows
	past  history
	raw   []byte // what the decoder gave last; what comes out of it is copied

	unawaited bool // the frames that were read last
}

// Unawaited says that nobody waits for an ack of the frames that were read last. Older builds never say so.
func (u *Unpacker) Unawaited() bool { return u.unawaited }

// NewUnpacker makes an unpacker that has read nothing. maxBytes bounds the frames of a shipment; what it does not take is refused.
func NewUnpacker(verifier *Verifier, origin string, maxBytes int, takes Reader) *Unpacker {
	return &Unpacker{verifier: verifier, origin: origin, maxBytes: maxBytes, takes: takes}
}

// Unpack reads a whole shipment. Nothing is decompressed before it is known whose it is, and nothing is kept that
// is not what was packed.
func (u *Unpacker) Unpack(whole []byte) ([]event.Sealed, error) {
	var s Shipment
	if err := u.verifier.Open(Kind_KIND_SHIPMENT, whole, &s); err != nil {
		return nil, err
	}
	if s.RawBytes > uint64(u.maxBytes) {
		return nil, fmt.Errorf("%w: frames of %d bytes, the limit is %d", ErrMessage, s.RawBytes, u.maxBytes)
	}
	if len(s.MoreFrames) > 0 && !u.takes.Bundles {
		return nil, fmt.Errorf("%w: %d frames in a shipment, which is not taken here", ErrMessage, 1+len(s.MoreFrames))
	}
	raw, err := u.expand(&s)
	if err != nil {
		return nil, err
	}
	frames, err := s.open(raw, u.past.hash)
	if err != nil {
		return nil, err
	}
	if err := u.judge(&s, frames); err != nil {
		return nil, err
	}
	u.learn(&s, frames)
	u.unawaited = s.Unawaited
	return frames, nil
}

// expand returns the bytes of the frames, until the next shipment is read.
func (u *Unpacker) expand(s *Shipment) ([]byte, error) {
	if s.WithoutPrevHash && s.Codec != Codec_CODEC_ZSTD {
		return nil, fmt.Errorf("%w: frames without prev_hash under %s", ErrMessage, s.Codec.Label())
	}
	switch s.Codec {
	case Codec_CODEC_NONE:
		if uint64(len(s.Data)) != s.RawBytes {
			return nil, fmt.Errorf("%w: frame has %d bytes, the shipment says %d", ErrMessage, len(s.Data), s.RawBytes)
		}
		return s.Data, nil
	case Codec_CODEC_S2:
		return expandS2(s.Data, s.RawBytes)
	case Codec_CODEC_ZSTD:
		if !u.takes.Zstd {
			return nil, fmt.Errorf("%w: a frame under zstd, which is not taken here", ErrMessage)
		}
		if err := u.recall(s); err != nil {
			return nil, err
		}
		raw, err := expand(u.dec, s.Data, u.raw, s.RawBytes)
		if err == nil && len(raw) <= 2*mostWithHistory { // a large frame should not stay
			u.raw = raw
		}
		return raw, err
	default:
		return nil, fmt.Errorf("%w: unknown codec %d", ErrMessage, s.Codec)
	}
}

// recall makes the decoder know what the shipment is compressed beside.
func (u *Unpacker) recall(s *Shipment) (err error) {
	if u.dec == nil {
		if u.dec, err = newDecoder(u.maxBytes); err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
	}
	if s.HistoryBytes > maxHistory {
		return fmt.Errorf("%w: compressed beside %d bytes, the limit is %d", ErrMessage, s.HistoryBytes, maxHistory)
	}
	n := int(s.HistoryBytes)
	if (n > 0 || s.WithoutPrevHash) && !u.past.has(s.HistoryFromPlusOne, n) {
		return fmt.Errorf("%w: %d bytes behind %d, here are %d behind %d", ErrHistory, n, int64(s.HistoryFromPlusOne)-1, len(u.past.bytes), u.past.from)
	}
	if n == 0 || n == u.known {
		return nil
	}
	u.known = 0
	if err := u.dec.ResetWithOptions(nil, zstd.WithDecoderDictRaw(dictionaryID, u.past.first(n))); err != nil {
		return fmt.Errorf("zstd: a dictionary of %d bytes: %w", n, err)
	}
	u.known = n
	return nil
}

// judge checks that the frames are those that were packed. Beside another history than the packer's, zstd would give other
// bytes and no error. The hash of the last one covers all of them: each holds that of the one before.
func (u *Unpacker) judge(s *Shipment, frames []event.Sealed) error {
	f, last := &frames[0], &frames[len(frames)-1]
	matches := s.Origin == u.origin && f.Incarnation == s.Incarnation && f.PrevRevision == s.PrevRevision && f.Last == s.LastRevision
	if s.Codec == Codec_CODEC_ZSTD || len(frames) > 1 {
		matches = s.FrameHash == hashHead(last.Hash)
	}
	if !matches && s.WithoutPrevHash { // most likely one is missing between
		return fmt.Errorf("%w: read behind %d, it is another frame than was packed", ErrHistory, u.past.end)
	}
	if !matches || f.Origin != u.origin {
		return fmt.Errorf("%w: frames %s/%016x %d..%d#%s do not match their shipment for %s",
			ErrMessage, f.Origin, f.Incarnation, f.PrevRevision, last.Last, last.Hash, u.origin)
	}
	return nil
}

func (u *Unpacker) learn(s *Shipment, frames []event.Sealed) {
	if s.HistoryFromPlusOne == 0 {
		return
	}
	if from := int64(s.HistoryFromPlusOne - 1); from == frames[0].PrevRevision {
		u.past.begin(from)
		u.known = 0
	} else if from != u.past.from {
		return
	}
	for i := range frames {
		u.past.add(&frames[i])
	}
}
