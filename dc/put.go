package dc

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// put is etcd's PutRequest as it is applied.
type put struct {
	key, value               []byte
	lease                    int64
	prevKv                   bool
	ignoreValue, ignoreLease bool
}

func putOf(r *pb.PutRequest) put {
	return put{
		key: r.Key, value: r.Value, lease: r.Lease, prevKv: r.PrevKv, ignoreValue: r.IgnoreValue, ignoreLease: r.IgnoreLease,
	}
}

// appendPut encodes a put as proto.Marshal does: of a repetition the bytes must be the same, whichever build has
// encoded it.
func appendPut(b []byte, r *pb.PutRequest) []byte {
	b = slices.Grow(b, len(r.Key)+len(r.Value)+putOverhead)
	if len(r.Key) > 0 {
		b = appendField(b, 1, r.Key)
	}
	if len(r.Value) > 0 {
		b = appendField(b, 2, r.Value)
	}
	b = appendVarint(b, 3, uint64(r.Lease))
	b = appendVarint(b, 4, protowire.EncodeBool(r.PrevKv))
	b = appendVarint(b, 5, protowire.EncodeBool(r.IgnoreValue))
	return appendVarint(b, 6, protowire.EncodeBool(r.IgnoreLease))
}

// putOverhead is what a put takes beside its key and value, at most.
const putOverhead = 2*(1+5) + 11 + 3*2

// decodePut reads an encoded PutRequest without copying: key and value are slices of b. Puts are most of
// what a log holds, and proto.Unmarshal would copy each of them on every replica.
func decodePut(b []byte) (r put, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return r, fmt.Errorf("%w: put: %w", ErrMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				switch num {
				case 1:
					r.key = v
				case 2:
					r.value = v
				}
			}
		case protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(b); n >= 0 {
				switch num {
				case 3:
					r.lease = int64(v)
				case 4:
					r.prevKv = v != 0
				case 5:
					r.ignoreValue = v != 0
				case 6:
					r.ignoreLease = v != 0
				}
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return r, fmt.Errorf("%w: put field %d: %w", ErrMalformed, num, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return r, nil
}
