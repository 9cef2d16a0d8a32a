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

// Packer compresses and signs frames of one chain, in order, and splits them into stream messages of about partBytes
// each. Under zstd it compresses them beside the beginning of a run of frames, of which most have some like them: a run is as
// many frames as runBytes hold. Who reads a run must begin with its first frame. It belongs to one goroutine.
type Packer struct {
	signer    *Signer
	partBytes int
	runBytes  int

	plain  *zstd.Encoder // nil until it is needed, as below
	beside *zstd.Encoder // of the first known bytes of the history
	known  int
	past   history
	spent  int // bytes of frames since the run began

	// Unawaited goes with the frames that are packed from now on: nobody waits for their acks.
	Unawaited bool
}

// NewPacker makes a packer that has packed nothing.
func NewPacker(signer *Signer, partBytes, runBytes int) *Packer {
	return &Packer{signer: signer, partBytes: partBytes, runBytes: runBytes}
}

// Packed is a frame as stream messages.
type Packed struct {
	Parts [][]byte
	Codec Codec
	// Begins says that the frame can be read without those before it, and Run that those behind it may not be read
	// without it.
	Begins, Run bool
}

// Pack packs a frame under zstd, or under s2 when some reader takes nothing else; a frame that gets no smaller is left as
// it is. Learn must be told of it before the next one is packed.
func (p *Packer) Pack(f *event.Sealed, takesZstd bool) (Packed, error) {
	s := &Shipment{
		Origin: f.Origin, Incarnation: f.Incarnation, PrevRevision: f.PrevRevision, LastRevision: f.Last,
		RawBytes: uint64(len(f.Bytes)), Data: f.Bytes,
	}
	out := Packed{Begins: true}
	if takesZstd {
		if !p.past.open || p.past.end != f.PrevRevision || p.spent >= p.runBytes {
			p.past.begin(f.PrevRevision)
			p.known, p.spent = 0, 0
		}
		out.Begins, out.Run = p.past.from == f.PrevRevision, true
		if err := p.compress(s, f); err != nil {
			return out, err
		}
	} else {
		p.past.open = false
		compressS2(s, f)
	}
	out.Codec, s.Unawaited = s.Codec, p.Unawaited
	whole, err := p.signer.Seal(Kind_KIND_SHIPMENT, s)
	if err != nil {
		return out, err
	}
	out.Parts, err = split(f, whole, p.partBytes)
	return out, err
}

// EndRun makes the next frame begin a run.
func (p *Packer) EndRun() { p.past.open = false }

func compressS2(s *Shipment, f *event.Sealed) {
	if len(f.Bytes) < worthBytes {
		return
	}
	if c := s2.Encode(nil, f.Bytes); len(c) < len(f.Bytes) {
		s.Codec, s.Data = Codec_CODEC_S2, c
	}
}

// compress turns the shipment into one under zstd, if that makes it smaller.
func (p *Packer) compress(s *Shipment, f *event.Sealed) (err error) {
	s.HistoryFromPlusOne = uint64(p.past.from) + 1
	raw, cut := f.Bytes, false
	if p.past.from != f.PrevRevision && p.past.hash == f.PrevHash {
		if without := event.WithoutPrevHash(f.Bytes); without != nil {
			raw, cut = without, true
		}
	}
	var c []byte
	beside := 0
	switch {
	case p.known > 0 && len(raw) <= mostWithHistory:
		c, beside = p.beside.EncodeAll(raw, nil), p.known
	case len(raw) < worthBytes:
		return nil
	default:
		if p.plain == nil {
			if p.plain, err = newEncoder(); err != nil {
				return fmt.Errorf("zstd: %w", err)
			}
		}
		c = p.plain.EncodeAll(raw, nil)
	}
	if len(c) >= len(f.Bytes) {
		return nil
	}
	*s = Shipment{
		Codec: Codec_CODEC_ZSTD, RawBytes: uint64(len(raw)), Data: c, FrameHash: hashHead(f.Hash),
		HistoryFromPlusOne: s.HistoryFromPlusOne, HistoryBytes: uint64(beside), WithoutPrevHash: cut,
	}
	return nil
}

// Learn adds the frame that was packed last to what the next ones are compressed beside. It is apart from Pack because it
// may take longer than that, and the frame need not wait for it.
func (p *Packer) Learn(f *event.Sealed) error {
	if !p.past.open {
		return nil
	}
	p.spent += len(f.Bytes)
	p.past.add(f)
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

func split(f *event.Sealed, whole []byte, partBytes int) (parts [][]byte, err error) {
	count := (len(whole) + partBytes - 1) / partBytes
	parts = make([][]byte, count)
	for i := range parts {
		parts[i], err = proto.Marshal(&Part{
			Version: Version, Incarnation: f.Incarnation, PrevRevision: f.PrevRevision, LastRevision: f.Last,
			Index: uint32(i), Count: uint32(count), TotalBytes: uint64(len(whole)),
			Data: whole[i*partBytes : min((i+1)*partBytes, len(whole))],
		})
		if err != nil {
			return nil, fmt.Errorf("marshal: %w", err)
		}
	}
	return parts, nil
}
