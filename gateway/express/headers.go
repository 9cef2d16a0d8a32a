package express

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const hpackTableBytes = 4096 // as long as the server's settings name no other

// headers decodes the client's header blocks. All of them pass here, because each may change the table that the next
// ones refer to. What goes on to gRPC's server is encoded anew, without a table.
type headers struct {
	decoder *hpack.Decoder
	encoder *hpack.Encoder
	encoded bytes.Buffer
	block   block
	begun   bool
}

// block is a header block of the client, with its fields once it is decoded.
type block struct {
	stream uint32
	ends   bool // nothing follows on the stream
	raw    []byte
	fields []hpack.HeaderField
	size   int // of the fields, as HPACK counts
}

func (hs *headers) init() {
	hs.decoder = hpack.NewDecoder(hpackTableBytes, func(f hpack.HeaderField) {
		if hs.block.size += int(f.Size()); hs.block.size <= headerListBytes {
			hs.block.fields = append(hs.block.fields, f)
		}
	})
	hs.decoder.SetMaxStringLength(headerListBytes)
	hs.encoder = hpack.NewEncoder(&hs.encoded)
	hs.encoder.SetMaxDynamicTableSize(0)
}

// open says that a block has begun and not ended.
func (hs *headers) open() bool { return hs.begun }

// add takes in HEADERS or CONTINUATION, and says whether the block is whole.
func (hs *headers) add(h frameHeader, payload []byte) (whole bool, err error) {
	b := &hs.block
	switch {
	case h.kind == http2.FrameHeaders:
		var ok bool
		if payload, ok = unpad(h, payload); ok && h.flags.Has(http2.FlagHeadersPriority) {
			if ok = len(payload) >= 5; ok {
				payload = payload[5:]
			}
		}
		if !ok {
			return false, fmt.Errorf("%w: padding of HEADERS", errProtocol)
		}
		*b = block{stream: h.stream, ends: h.flags.Has(http2.FlagHeadersEndStream), raw: b.raw[:0], fields: b.fields[:0]}
	case !hs.begun || h.stream != b.stream:
		return false, fmt.Errorf("%w: CONTINUATION of nothing", errProtocol)
	}
	if len(b.raw)+len(payload) > headerBlockBytes {
		return false, errHeaderSize
	}
	b.raw = append(b.raw, payload...)
	hs.begun = !h.flags.Has(http2.FlagHeadersEndHeaders)
	return !hs.begun, nil
}

// decode is valid until the next add.
func (hs *headers) decode() (*block, error) {
	b := &hs.block
	if _, err := hs.decoder.Write(b.raw); err != nil {
		return nil, err
	}
	if err := hs.decoder.Close(); err != nil {
		return nil, err
	}
	if cap(b.raw) > keptBytes {
		b.raw = nil
	}
	if b.size > headerListBytes {
		return nil, errHeaderSize
	}
	return b, nil
}

// encode makes frames of a block for gRPC's server.
func (hs *headers) encode(to []byte, b *block) []byte {
	hs.encoded.Reset()
	for _, f := range b.fields {
		_ = hs.encoder.WriteField(f) // a buffer takes everything
	}
	if cap(b.fields) > keptBytes/64 {
		b.fields = nil
	}
	return appendBlock(to, b.stream, hs.encoded.Bytes(), b.ends)
}

// request is what is known of a call by its headers.
type request struct {
	path    string
	timeout time.Duration
	timed   bool
	carried []string // headers, key, value, key, value
}

// plain says whether a block is the beginning of a unary call like any other: whatever is unusual is gRPC's.
func (b *block) plain(cfg *Config) (r request, ok bool) {
	if b.ends {
		return r, false
	}
	var method, scheme, authority, contentType, te int
	regular := false
	for _, f := range b.fields {
		if regular = regular || !strings.HasPrefix(f.Name, ":"); regular && strings.HasPrefix(f.Name, ":") {
			return r, false
		}
		switch f.Name {
		case ":method":
			method++
			ok = f.Value == "POST"
		case ":scheme":
			scheme++
			ok = f.Value == "http" || f.Value == "https"
		case ":authority":
			authority++
			ok = f.Value != ""
		case ":path":
			ok = r.path == ""
			r.path = f.Value
		case "content-type":
			contentType++
			ok = f.Value == "application/grpc" || f.Value == "application/grpc+proto"
		case "te":
			te++
			ok = f.Value == "trailers"
		case "grpc-timeout":
			ok = !r.timed
			if r.timed = true; ok {
				r.timeout, ok = parseTimeout(f.Value)
			}
		case "user-agent", "grpc-accept-encoding":
			ok = true
		default:
			ok = cfg.Ignored[f.Name]
			if cfg.Carried[f.Name] {
				ok = !hasKey(r.carried, f.Name)
				r.carried = append(r.carried, f.Name, f.Value)
			}
		}
		if !ok {
			return r, false
		}
	}
	return r, method == 1 && scheme == 1 && authority == 1 && contentType == 1 && te <= 1
}

func hasKey(pairs []string, key string) bool {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == key {
			return true
		}
	}
	return false
}

var timeoutUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// parseTimeout reads gRPC's header of that name: at most 8 digits and a unit.
func parseTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	unit, known := timeoutUnits[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if !known || err != nil || n == 0 {
		return 0, false
	}
	const longest = 1<<63 - 1
	if unit > longest/time.Duration(n) {
		return longest, true
	}
	return time.Duration(n) * unit, true
}
