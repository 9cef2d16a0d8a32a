package express

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

const (
	frameHeaderBytes = 9
	// maxFrameBytes is the largest payload of a frame (RFC 9113, section 4.2): gRPC's server announces no more, and every client
	// takes this much.
	maxFrameBytes = 16 << 10
	maxWindow     = 1<<31 - 1
	firstWindow   = 65535 // of a connection and of its streams, before anybody says otherwise
	maxStreamID   = 1<<31 - 1
)

// frameHeader is the head of a frame.
type frameHeader struct {
	length int // bytes of payload
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

// parseFrameHeader reads the first 9 bytes of b.
func parseFrameHeader(b []byte) frameHeader {
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   http2.FrameType(b[3]), flags: http2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

func appendFrameHeader(b []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

func appendWindowUpdate(b []byte, stream, increment uint32) []byte {
	b = appendFrameHeader(b, 4, http2.FrameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, increment)
}

func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	b = appendFrameHeader(b, 4, http2.FrameRSTStream, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// appendBlock makes frames of a header block.
func appendBlock(b []byte, stream uint32, block []byte, end bool) []byte {
	var flags http2.Flags
	if end {
		flags = http2.FlagHeadersEndStream
	}
	kind := http2.FrameHeaders
	for {
		n := min(len(block), maxFrameBytes)
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders // of a continuation it is the same bit
		}
		b = appendFrameHeader(b, n, kind, flags, stream)
		b = append(b, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return b
		}
		kind, flags = http2.FrameContinuation, 0
	}
}

// unpad is the payload of a frame that may be padded.
func unpad(h frameHeader, payload []byte) ([]byte, bool) {
	if h.flags&http2.FlagDataPadded == 0 { // of HEADERS it is the same bit
		return payload, true
	}
	if len(payload) == 0 || int(payload[0]) >= len(payload) {
		return nil, false
	}
	return payload[1 : len(payload)-int(payload[0])], true
}
