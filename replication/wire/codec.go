package wire

import (
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

const (
	// worthBytes is the size below which compression without a history is not tried.
	worthBytes = 256
	// windowBytes is how far back zstd looks, and bounds what an encoder keeps.
	windowBytes = 512 << 10
	// dictionaryID names a history in the bytes of zstd; which history it is, the shipment says.
	dictionaryID = 1
)

// Takes says whether a message's list of codecs has zstd in it. Everyone takes none and s2.
func Takes(codecs []Codec) bool { return slices.Contains(codecs, Codec_CODEC_ZSTD) }

// Label names the codec in metrics and logs.
func (x Codec) Label() string {
	switch x {
	case Codec_CODEC_NONE:
		return "none"
	case Codec_CODEC_S2:
		return "s2"
	case Codec_CODEC_ZSTD:
		return "zstd"
	default:
		return "unknown"
	}
}

// newEncoder is at the fastest level: beside a history the next one takes twice the time and saves nothing.
func newEncoder(more ...zstd.EOption) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, append([]zstd.EOption{
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowBytes),
		zstd.WithSingleSegment(true),                               // else what is below 256 bytes has no content size
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), // what is read is checked by better means
	}, more...)...)
}

func newDecoder(maxBytes int) (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(maxBytes)),
		zstd.WithDecoderMaxWindow(max(uint64(maxBytes), zstd.MinWindowSize)), zstd.WithDecodeAllCapLimit(true))
}

// expand decompresses what must give so many bytes, which the caller has bounded, into memory that may be too small.
func expand(d *zstd.Decoder, data, into []byte, want uint64) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if !h.HasFCS || h.FrameContentSize != want {
		return nil, fmt.Errorf("%w: compressed data claims %d bytes, its message %d", ErrMessage, h.FrameContentSize, want)
	}
	into = slices.Grow(into[:0], int(want))
	raw, err := d.DecodeAll(data, into[:0:want]) // which it does not grow
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if uint64(len(raw)) != want {
		return nil, fmt.Errorf("%w: compressed data gives %d bytes, its message says %d", ErrMessage, len(raw), want)
	}
	return into[:want], nil // with all of its room, for the next one
}

func expandS2(data []byte, want uint64) ([]byte, error) {
	n, err := s2.DecodedLen(data)
	if err != nil || uint64(n) != want {
		return nil, fmt.Errorf("%w: compressed data claims %d bytes, its message %d", ErrMessage, n, want)
	}
	raw, err := s2.Decode(nil, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return raw, nil
}

// Pieces compresses and decompresses the pieces of a FetchReply, each without any other. It is safe for concurrent use.
type Pieces struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewPieces bounds what a piece may become. The caller checks what a message claims.
func NewPieces(maxBytes int) (*Pieces, error) {
	enc, err := newEncoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	dec, err := newDecoder(maxBytes)
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &Pieces{enc: enc, dec: dec}, nil
}

// Compress returns the piece under zstd if its receiver takes that, else under s2.
func (p *Pieces) Compress(raw []byte, takesZstd bool) (Codec, []byte) {
	if takesZstd {
		return Codec_CODEC_ZSTD, p.enc.EncodeAll(raw, nil)
	}
	return Codec_CODEC_S2, s2.Encode(nil, raw)
}

// Decompress reads a piece that must give so many bytes. No codec is s2, as older builds say it.
func (p *Pieces) Decompress(codec Codec, data []byte, want uint64) ([]byte, error) {
	switch codec {
	case Codec_CODEC_NONE, Codec_CODEC_S2:
		return expandS2(data, want)
	case Codec_CODEC_ZSTD:
		return expand(p.dec, data, nil, want)
	default:
		return nil, fmt.Errorf("%w: unknown codec %d", ErrMessage, codec)
	}
}
