package event

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// A frame's prev_hash is what no codec makes smaller, and who has read the frame before has it already.

// prevHashBytes is the field with its tag and length.
const prevHashBytes = 2 + len(Hash{})

// AppendWithoutPrevHash appends a frame's bytes without the field prev_hash, unless they don't have it in its place.
func AppendWithoutPrevHash(to, frame []byte) (_ []byte, ok bool) {
	at := prevHashAt(frame)
	if at < 0 || len(frame) < at+prevHashBytes {
		return to, false
	}
	if num, typ, n := protowire.ConsumeTag(frame[at:]); n != 1 || num != fieldPrevHash || typ != protowire.BytesType || frame[at+1] != byte(len(Hash{})) {
		return to, false
	}
	return append(append(to, frame[:at]...), frame[at+prevHashBytes:]...), true
}

// WithPrevHash is the inverse of AppendWithoutPrevHash; nil when the bytes can't be those of a frame.
func WithPrevHash(without []byte, h Hash) []byte {
	at := prevHashAt(without)
	if at < 0 {
		return nil
	}
	return slices.Concat(without[:at], appendBytes(nil, fieldPrevHash, h[:]), without[at:])
}

// prevHashAt is where the field stands, or would: behind those with lower numbers.
func prevHashAt(b []byte) int {
	for at := 0; at < len(b); {
		num, _, n := protowire.ConsumeField(b[at:])
		switch {
		case n < 0:
			return -1
		case num >= fieldPrevHash:
			return at
		}
		at += n
	}
	return -1
}
