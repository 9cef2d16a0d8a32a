package express

import (
	"encoding/binary"

	"google.golang.org/grpc/status"
)

// prefixBytes is a flag for compression and the length of the message that follows.
const prefixBytes = 5

// body gathers the one message of a request.
type body struct {
	prefix  [prefixBytes]byte
	have    int // bytes of prefix
	message []byte
}

// add takes in the next bytes. An error is the call's answer.
func (b *body) add(p []byte, maxBytes int) error {
	if b.have < prefixBytes {
		n := copy(b.prefix[b.have:], p)
		p = p[n:]
		if b.have += n; b.have < prefixBytes {
			return nil
		}
		length := binary.BigEndian.Uint32(b.prefix[1:])
		switch {
		case b.prefix[0] == 1:
			return status.Error(codeMalformed, "grpc: compressed flag set with identity or empty encoding")
		case b.prefix[0] != 0:
			return status.Errorf(codeMalformed, "grpc: received unexpected payload format %d", b.prefix[0])
		case uint64(length) > uint64(maxBytes):
			return status.Errorf(codeTooLarge, "grpc: received message larger than max (%d vs. %d)", length, maxBytes)
		}
		b.message = make([]byte, 0, min(int(length), max(len(p), maxFrameBytes)))
	}
	if len(b.message)+len(p) > b.length() {
		return status.Error(codeMalformed, "cardinality violation: expected one message for a unary call")
	}
	b.message = append(b.message, p...)
	return nil
}

func (b *body) length() int { return int(binary.BigEndian.Uint32(b.prefix[1:])) }

// whole says what is wrong with a request that has ended.
func (b *body) whole() error {
	if b.have < prefixBytes || len(b.message) < b.length() {
		return status.Error(codeMalformed, "unexpected EOF")
	}
	return nil
}
