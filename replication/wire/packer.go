package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"geogate/replication/event"
)

const (
	// leastHistory is worth to be a dictionary.
	leastHistory = 512
	// historyGrowth is how much more of a history there must be before the dictionary is made anew, which takes about as long as
	// to compress some frames.
	historyGrowth = 4
	// mostWithHistory is the size of a frame above which a history saves nothing.
	mostWithHistory = 64 << 10
)

// Limits of what a packer makes, in bytes.
type Limits struct {
	Part   int // of a stream message
	Run    int // of frames that are compressed beside the same history
	Bundle int // of frames that share a shipment; larger ones go alone
}

// Reader is what everyone who reads a shipment takes.
type Reader struct {
	Zstd    bool
	Bundles bool // more than one frame in a shipment, which counts only with zstd
	MACs    bool // in place of a signature
}

// And is what two readers take.
func (r Reader) And(other Reader) Reader {
	zstd := r.Zstd && other.Zstd
	return Reader{Zstd: zstd, Bundles: zstd && r.Bundles && other.Bundles, MACs: r.MACs && other.MACs}
}

// Or is what one of two readers takes.
func (r Reader) Or(other Reader) Reader {
	return Reader{Zstd: r.Zstd || other.Zstd, Bundles: r.Bundles || other.Bundles, MACs: r.MACs || other.MACs}
}

// Reads says whether r takes all that a shipment needs.
func (r Reader) Reads(needs Reader) bool { return r.Or(needs) == r }

// Packer compresses and authenticates frames of one chain, in order, and splits them into stream messages. Under zstd it compresses them
// beside the beginning of a run of frames, of which most have some like them: a run is as many frames as Limits.Run holds. Who
// reads a run must begin with its first frame. It belongs to one goroutine.
type Packer struct {
	signer  *Signer
	readers []*Verifier
	limits  Limits

	plain  *zstd.Encoder // nil until it is needed, as below
	beside *zstd.Encoder // of the first known bytes of the history
	known  int
	past   history
	spent  int // bytes of frames since the run began
	memory struct{ more, raw, compressed []byte }

	// Unawaited goes with the frames that are packed from now on: nobody waits for their acks.
	Unawaited bool
}

// NewPacker makes a packer that has packed nothing. The readers are all who may read it, for their MACs.
func NewPacker(signer *Signer, readers []*Verifier, limits Limits) *Packer {
	return &Packer{signer: signer, readers: readers, limits: limits}
}

// Packed are frames as stream messages.
type Packed struct {
	Frames int // how many
	Parts  [][]byte
	Codec  Codec
	// Begins says that the frames can be read without those before them, and Run that those behind them may not be read
	// without them.
	Begins, Run bool
}

// Pack packs the first of some frames, and those behind it that may share its shipment, under zstd, or under s2 when some
// reader takes nothing else; what gets no smaller is left as it is. Learn must be told of them before the next one is packed.
func (p *Packer) Pack(frames []event.Sealed, by Reader) (Packed, error) {
	b := p.gather(frames, by)
	out := Packed{Frames: len(b.frames), Begins: true}
	s, err := p.shipment(b, by, &out)
	if err != nil {
		return out, err
	}
	out.Codec, s.Unawaited = s.Codec, p.Unawaited
	whole, err := p.seal(s, by)
	if err != nil {
		return out, err
	}
	if cap(p.memory.raw) > 2*mostWithHistory {
		p.memory.raw, p.memory.compressed = nil, nil // a large frame should not stay
	}
	out.Parts, err = split(b, whole, p.limits.Part)
	return out, err
}

func (p *Packer) seal(s *Shipment, by Reader) ([]byte, error) {
	if by.MACs && len(p.readers) <= mostMACs {
		return SealFor(Kind_KIND_SHIPMENT, s, p.readers...)
	}
	return p.signer.Seal(Kind_KIND_SHIPMENT, s)
}

// shipment compresses a bundle, and says how its frames are tied to others.
func (p *Packer) shipment(b bundle, by Reader, out *Packed) (*Shipment, error) {
	first := b.first()
	if !by.Zstd {
		p.past.open = false
		return underS2(b.plain()), nil
	}
	if !p.past.open || p.past.end != first.PrevRevision || p.spent >= p.limits.Run {
		p.past.begin(first.PrevRevision)
		p.known, p.spent = 0, 0
	}
	out.Begins, out.Run = p.past.from == first.PrevRevision, true
	s, err := p.underZstd(b)
	if err == nil && s == nil {
		s = b.plain()
	}
	if err == nil {
		s.HistoryFromPlusOne = uint64(p.past.from) + 1
	}
	return s, err
}

// EndRun makes the next frame begin a run.
func (p *Packer) EndRun() { p.past.open = false }

func underS2(s *Shipment) *Shipment {
	if len(s.Data) < worthBytes {
		return s
	}
	if c := s2.Encode(nil, s.Data); len(c) < len(s.Data) {
		s.Codec, s.Data = Codec_CODEC_S2, c
	}
	return s
}

// underZstd is the bundle compressed, or nil if that does not make it smaller.
func (p *Packer) underZstd(b bundle) (*Shipment, error) {
	first, raw, cut := b.first(), p.memory.raw[:0], false
	if p.past.from != first.PrevRevision && p.past.hash == first.PrevHash {
		raw, cut = event.AppendWithoutPrevHash(raw, first.Bytes)
	}
	if !cut {
		raw = append(raw, first.Bytes...)
	}
	raw = append(raw, b.more...)
	beside, to := 0, p.memory.compressed[:0]
	switch {
	case p.known > 0 && len(raw) <= mostWithHistory:
		to, beside = p.beside.EncodeAll(raw, to), p.known
	case len(raw) < worthBytes:
		return nil, nil
	default:
		if p.plain == nil {
			var err error
			if p.plain, err = newEncoder(); err != nil {
				return nil, fmt.Errorf("zstd: %w", err)
			}
		}
		to = p.plain.EncodeAll(raw, to)
	}
	p.memory.raw, p.memory.compressed = raw, to
	if len(to) >= b.bytes() {
		return nil, nil
	}
	return &Shipment{
		Codec: Codec_CODEC_ZSTD, RawBytes: uint64(len(raw)), Data: to, FrameHash: hashHead(b.last().Hash), MoreFrames: b.sizes,
		HistoryBytes: uint64(beside), WithoutPrevHash: cut,
	}, nil
}

// Learn adds the frames that were packed last to what the next ones are compressed beside. It is apart from Pack because it
// may take longer than that, and they need not wait for it.
func (p *Packer) Learn(frames []event.Sealed) error {
	if !p.past.open {
		return nil
	}
	for i := range frames {
		p.spent += len(frames[i].Bytes)
		p.past.add(&frames[i])
	}
	n := len(p.past.bytes)
	if n < leastHistory || n < historyGrowth*p.known && n < maxHistory || n == p.known {
		return nil
	}
	dictionary := zstd.WithEncoderDictRaw(dictionaryID, p.past.first(n))
	var err error
	if p.beside == nil {
		p.beside, err = newEncoder(dictionary)
	} else {
		err = p.beside.ResetWithOptions(nil, dictionary)
	}
	if err != nil {
		return fmt.Errorf("zstd: a dictionary of %d bytes: %w", n, err)
	}
	p.known = n
	return nil
}

// hashHead is the beginning of a frame's hash, which travels with it.
func hashHead(h event.Hash) uint64 { return binary.BigEndian.Uint64(h[:8]) }

func split(b bundle, whole []byte, partBytes int) (parts [][]byte, err error) {
	count := (len(whole) + partBytes - 1) / partBytes
	parts = make([][]byte, count)
	for i := range parts {
		parts[i], err = proto.Marshal(&Part{
			Version: Version, Incarnation: b.first().Incarnation, PrevRevision: b.first().PrevRevision, LastRevision: b.last().Last,
			Index: uint32(i), Count: uint32(count), TotalBytes: uint64(len(whole)),
			Data: whole[i*partBytes : min((i+1)*partBytes, len(whole))],
		})
		if err != nil {
			return nil, fmt.Errorf("marshal: %w", err)
		}
	}
	return parts, nil
}
