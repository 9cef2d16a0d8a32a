package express

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Header blocks of answers are made of HPACK's static table and of literals that no table keeps (RFC 7541, section 6.2.2): the
// table of the connection is that of gRPC's server, which does not see these blocks.

const (
	status200   = 0x88      // static table, 8: ":status: 200"
	contentType = 0x0f      // a literal whose name is in the static table, at
	contentMore = 31 - 0x0f // 31: "content-type"
)

var (
	headerStart = appendString([]byte{status200, contentType, contentMore}, "application/grpc")
	statusOK    = appendField(nil, "grpc-status", "0")
)

// appendTrailer ends an answer that has a message.
func appendTrailer(to []byte, stream uint32, trailer []string) []byte {
	at := len(to)
	to = appendFrameHeader(to, 0, http2.FrameHeaders, http2.FlagHeadersEndStream|http2.FlagHeadersEndHeaders, stream)
	to = append(to, statusOK...)
	to = appendFields(to, trailer)
	n := len(to) - at - frameHeaderBytes
	if n > maxFrameBytes {
		block := append([]byte(nil), to[at+frameHeaderBytes:]...)
		return appendBlock(to[:at], stream, block, true)
	}
	to[at], to[at+1], to[at+2] = byte(n>>16), byte(n>>8), byte(n)
	return to
}

func appendPrefix(to []byte, size int) []byte {
	return binary.BigEndian.AppendUint32(append(to, 0), uint32(size))
}

func appendFields(to []byte, pairs []string) []byte {
	for i := 0; i+1 < len(pairs); i += 2 {
		to = appendField(to, pairs[i], pairs[i+1])
	}
	return to
}

// appendField adds a literal without indexing, with a new name.
func appendField(to []byte, name, value string) []byte {
	return appendString(appendString(append(to, 0), name), value)
}

func appendString(to []byte, s string) []byte {
	const seven = 1<<7 - 1
	if len(s) < seven {
		return append(append(to, byte(len(s))), s...)
	}
	to = append(to, seven)
	return append(binary.AppendUvarint(to, uint64(len(s)-seven)), s...) // HPACK's integers go on as varints do
}

// appendStatus adds an error as gRPC's protocol has it.
func appendStatus(to []byte, s *status.Status) []byte {
	to = appendField(to, "grpc-status", strconv.Itoa(int(s.Code())))
	to = appendField(to, "grpc-message", percentEncoded(s.Message()))
	if p := s.Proto(); len(p.GetDetails()) > 0 {
		if raw, err := proto.Marshal(p); err == nil { // the code and the text are there without it
			to = appendField(to, "grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(raw))
		}
	}
	return to
}

// percentEncoded is gRPC's form of a text in a header: printable ASCII but for the percent sign, and the rest byte by byte.
func percentEncoded(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] <= '~' && s[i] != '%'
	}
	if plain {
		return s
	}
	var out []byte
	for i := range len(s) {
		if s[i] >= ' ' && s[i] <= '~' && s[i] != '%' {
			out = append(out, s[i])
		} else {
			out = fmt.Appendf(out, "%%%02X", s[i])
		}
	}
	return string(out)
}
