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
	zstd     bool // whether it takes that

	dec   *zstd.Decoder // nil until it is needed
	known int           // how much of the history it knows
	past  history

	unawaited bool // the frame that was read last
}

// Unawaited says that nobody waits for an ack of the frame that was read last. Older builds never say so.
func (u *Unpacker) Unawaited() bool { return u.unawaited }

// NewUnpacker makes an unpacker that has read nothing. maxBytes bounds a frame; without zstd, shipments under that are refused.
func NewUnpacker(verifier *Verifier, origin string, maxBytes int, zstd bool) *Unpacker {
	return &Unpacker{verifier: verifier, origin: origin, maxBytes: maxBytes, zstd: zstd}
}

// Unpack reads a whole shipment. Nothing is decompressed before the signature has been verified, and nothing is kept that
// is not the frame which was packed.
func (u *Unpacker) Unpack(whole []byte) (event.Sealed, error) {
	var s Shipment
	if err := u.verifier.Open(Kind_KIND_SHIPMENT, whole, &s); err != nil {
		return event.Sealed{}, err
	}
	if s.RawBytes > uint64(u.maxBytes) {
		return event.Sealed{}, fmt.Errorf("%w: frame of %d bytes, the limit is %d", ErrMessage, s.RawBytes, u.maxBytes)
	}
	raw, err := u.expand(&s)
	if err != nil {
		return event.Sealed{}, err
	}
	_, sealed, err := event.Open(raw)
	if err != nil {
		return event.Sealed{}, err
	}
	if err := u.judge(&s, &sealed); err != nil {
		return event.Sealed{}, err
	}
	u.learn(&s, &sealed)
	u.unawaited = s.Unawaited
	return sealed, nil
}

// expand returns the bytes of the frame.
func (u *Unpacker) expand(s *Shipment) ([]byte, error) {
	switch s.Codec {
	case Codec_CODEC_NONE:
		if uint64(len(s.Data)) != s.RawBytes {
			return nil, fmt.Errorf("%w: frame has %d bytes, the shipment says %d", ErrMessage, len(s.Data), s.RawBytes)
		}
		return s.Data, nil
	case Codec_CODEC_S2:
		return expandS2(s.Data, s.RawBytes)
	case Codec_CODEC_ZSTD:
		if !u.zstd {
			return nil, fmt.Errorf("%w: a frame under zstd, which is not taken here", ErrMessage)
		}
		if err := u.recall(s); err != nil {
			return nil, err
		}
		raw, err := expand(u.dec, s.Data, s.RawBytes)
		if err != nil || !s.WithoutPrevHash {
			return raw, err
		}
		if raw = event.WithPrevHash(raw, u.past.hash); raw == nil {
			return nil, fmt.Errorf("%w: what has no prev_hash is no frame", ErrMessage)
		}
		return raw, nil
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

// judge checks that the frame is the one that was packed. Beside another history than the packer's, zstd would give other
// bytes and no error.
func (u *Unpacker) judge(s *Shipment, f *event.Sealed) error {
	matches := s.Origin == u.origin && f.Incarnation == s.Incarnation && f.PrevRevision == s.PrevRevision && f.Last == s.LastRevision
	if s.Codec == Codec_CODEC_ZSTD {
		matches = s.FrameHash == hashHead(f.Hash)
	}
	if !matches && s.WithoutPrevHash { // most likely one is missing between
		return fmt.Errorf("%w: read behind %d, it is another frame than was packed", ErrHistory, u.past.end)
	}
	if !matches || f.Origin != u.origin {
		return fmt.Errorf("%w: frame %s/%016x %d..%d#%s does not match its shipment for %s",
			ErrMessage, f.Origin, f.Incarnation, f.PrevRevision, f.Last, f.Hash, u.origin)
	}
	return nil
}

func (u *Unpacker) learn(s *Shipment, f *event.Sealed) {
	if s.HistoryFromPlusOne == 0 {
		return
	}
	if from := int64(s.HistoryFromPlusOne - 1); from == f.PrevRevision {
		u.past.begin(from)
		u.known = 0
	} else if from != u.past.from {
		return
	}
	u.past.add(f)
}
