package wire

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/proto"

	"geogate/replication/event"
)

// worthBytes is the size below which compression is not tried.
const worthBytes = 256

// Pack compresses and signs a frame and splits it into stream messages of about partBytes each.
func Pack(signer *Signer, f *event.Sealed, partBytes int) ([][]byte, error) {
	s := &Shipment{
		Origin: f.Origin, Incarnation: f.Incarnation, PrevRevision: f.PrevRevision, LastRevision: f.Last,
		RawBytes: uint64(len(f.Bytes)), Data: f.Bytes,
	}
	if len(f.Bytes) >= worthBytes {
		if c := s2.Encode(nil, f.Bytes); len(c) < len(f.Bytes) {
			s.Codec, s.Data = Codec_CODEC_S2, c
		}
	}
	whole, err := signer.Seal(Kind_KIND_SHIPMENT, s)
	if err != nil {
		return nil, err
	}
	count := (len(whole) + partBytes - 1) / partBytes
	parts := make([][]byte, count)
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

// Unpack verifies and decompresses a whole shipment and opens the frame in it. maxBytes bounds the frame;
// nothing is decompressed before the signature has been verified.
func Unpack(verifier *Verifier, origin string, whole []byte, maxBytes int) (event.Sealed, error) {
	var s Shipment
	if err := verifier.Open(Kind_KIND_SHIPMENT, whole, &s); err != nil {
		return event.Sealed{}, err
	}
	if s.RawBytes > uint64(maxBytes) {
		return event.Sealed{}, fmt.Errorf("%w: frame of %d bytes, the limit is %d", ErrMessage, s.RawBytes, maxBytes)
	}
	raw := s.Data
	if s.Codec == Codec_CODEC_S2 {
		n, err := s2.DecodedLen(s.Data)
		if err != nil || uint64(n) != s.RawBytes {
			return event.Sealed{}, fmt.Errorf("%w: compressed frame claims %d bytes, the shipment %d", ErrMessage, n, s.RawBytes)
		}
		if raw, err = s2.Decode(nil, s.Data); err != nil {
			return event.Sealed{}, fmt.Errorf("%w: %w", ErrMessage, err)
		}
	} else if s.Codec != Codec_CODEC_NONE {
		return event.Sealed{}, fmt.Errorf("%w: unknown codec %d", ErrMessage, s.Codec)
	}
	if uint64(len(raw)) != s.RawBytes {
		return event.Sealed{}, fmt.Errorf("%w: frame has %d bytes, the shipment says %d", ErrMessage, len(raw), s.RawBytes)
	}
	_, sealed, err := event.Open(raw)
	if err != nil {
		return event.Sealed{}, err
	}
	if sealed.Origin != origin || s.Origin != origin || sealed.Incarnation != s.Incarnation ||
		sealed.PrevRevision != s.PrevRevision || sealed.Last != s.LastRevision {
		return event.Sealed{}, fmt.Errorf("%w: frame %s/%016x %d..%d does not match its shipment for %s",
			ErrMessage, sealed.Origin, sealed.Incarnation, sealed.PrevRevision, sealed.Last, origin)
	}
	return sealed, nil
}
