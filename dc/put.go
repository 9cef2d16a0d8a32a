package dc

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// decodePut reads an encoded PutRequest without copying: key and value are slices of b. Puts are most of
// what a log holds, and proto.Unmarshal would copy each of them on every replica.
func decodePut(b []byte) (*pb.PutRequest, error) {
	r := &pb.PutRequest{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, fmt.Errorf("%w: put: %w", ErrMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				switch num {
				case 1:
					r.Key = v
				case 2:
					r.Value = v
				}
			}
		case protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(b); n >= 0 {
				switch num {
				case 3:
					r.Lease = int64(v)
				case 4:
					r.PrevKv = v != 0
				case 5:
					r.IgnoreValue = v != 0
				case 6:
					r.IgnoreLease = v != 0
				}
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil, fmt.Errorf("%w: put field %d: %w", ErrMalformed, num, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return r, nil
}
