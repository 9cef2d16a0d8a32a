package trunk

import (
	"unicode/utf8"

	"google.golang.org/grpc/metadata"
)

// fromMetadata lays metadata out as key, value, key, value. What is no valid UTF-8, as binary values and those of
// broken clients, is left out: one such value would make a message of many calls invalid.
func fromMetadata(md metadata.MD) []string {
	n := 0
	for _, values := range md {
		n += 2 * len(values)
	}
	if n == 0 {
		return nil
	}
	out := make([]string, 0, n)
	for key, values := range md {
		for _, v := range values {
			if utf8.ValidString(key) && utf8.ValidString(v) {
				out = append(out, key, v)
			}
		}
	}
	return out
}

// toMetadata shares the strings and, for the first value of a key, the slice.
func toMetadata(pairs []string) metadata.MD {
	md := make(metadata.MD, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		if old, more := md[pairs[i]]; more {
			md[pairs[i]] = append(old, pairs[i+1])
			continue
		}
		md[pairs[i]] = pairs[i+1 : i+2 : i+2]
	}
	return md
}

// overhead is at least what a call or a reply takes in a message beside its body and its metadata.
const overhead = 64

// sizeOf is at least the encoded size of a call or a reply.
func sizeOf(body []byte, pairs []string) int {
	n := overhead + len(body)
	for _, s := range pairs {
		n += len(s) + 4
	}
	return n
}
