package trunk

import (
	"google.golang.org/grpc/metadata"

	"geogate/gateway/trunk/trunkpb"
)

func fromMetadata(md metadata.MD) []*trunkpb.Header {
	if len(md) == 0 {
		return nil
	}
	out := make([]*trunkpb.Header, 0, len(md))
	for key, values := range md {
		out = append(out, &trunkpb.Header{Key: key, Values: values})
	}
	return out
}

func toMetadata(headers []*trunkpb.Header) metadata.MD {
	md := make(metadata.MD, len(headers))
	for _, h := range headers {
		md[h.Key] = h.Values
	}
	return md
}

// overhead is at least what a call or a reply takes in a message beside its body and its headers.
const overhead = 64

// sizeOf is at least the encoded size of a call or a reply.
func sizeOf(body []byte, headers []*trunkpb.Header) int {
	n := overhead + len(body)
	for _, h := range headers {
		n += overhead + len(h.Key)
		for _, v := range h.Values {
			n += overhead + len(v)
		}
	}
	return n
}
