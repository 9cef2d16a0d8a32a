package event

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The frame is a protobuf message (frame.proto), written by hand in ascending field order and without
// default values, because every node of the origin encodes it for itself and the bytes are hashed: they
// must be equal in every build, which protobuf's generated code does not promise.

const (
	fieldVersion      = 1
	fieldOrigin       = 2
	fieldIncarnation  = 3
	fieldPrevRevision = 4
	fieldPrevHash     = 5
	fieldSeen         = 6
	fieldTxn          = 7

	seenOrigin   = 1
	seenRevision = 2

	txnRevision = 1
	txnStamp    = 2
	txnOp       = 3
	txnRequest  = 4
	txnHome     = 5

	requestID      = 1
	requestHash    = 2
	requestOutcome = 3
	requestReduced = 4

	opKind  = 1
	opKey   = 2
	opValue = 3
	opLease = 4
)

func appendFrame(b []byte, f *Frame) []byte {
	b = appendUint(b, fieldVersion, f.version())
	b = appendBytes(b, fieldOrigin, []byte(f.Origin))
	b = protowire.AppendTag(b, fieldIncarnation, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, f.Incarnation)
	b = appendUint(b, fieldPrevRevision, uint64(f.PrevRevision))
	if f.PrevHash != (Hash{}) {
		b = appendBytes(b, fieldPrevHash, f.PrevHash[:])
	}
	for _, origin := range slices.Sorted(maps.Keys(f.Seen)) {
		size := seenSize(origin, f.Seen[origin])
		if size == 0 {
			continue
		}
		b = protowire.AppendTag(b, fieldSeen, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = appendBytes(b, seenOrigin, []byte(origin))
		b = appendUint(b, seenRevision, uint64(f.Seen[origin]))
	}
	for i := range f.Txns {
		t := &f.Txns[i]
		b = protowire.AppendTag(b, fieldTxn, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(txnSize(t)))
		b = appendUint(b, txnRevision, uint64(t.Revision))
		b = appendUint(b, txnStamp, uint64(t.Stamp))
		for j := range t.Ops {
			op := &t.Ops[j]
			b = protowire.AppendTag(b, txnOp, protowire.BytesType)
			b = protowire.AppendVarint(b, uint64(opSize(op)))
			b = appendUint(b, opKind, uint64(op.Kind))
			b = appendBytes(b, opKey, op.Key)
			b = appendBytes(b, opValue, op.Value)
			b = appendUint(b, opLease, uint64(op.Lease))
		}
		if t.Request != nil {
			b = protowire.AppendTag(b, txnRequest, protowire.BytesType)
			b = protowire.AppendVarint(b, uint64(requestSize(t.Request)))
			b = appendRequest(b, t.Request)
		}
		if t.Home != nil {
			b = appendHome(b, t.Home)
		}
	}
	return b
}

func appendRequest(b []byte, r *Request) []byte {
	b = appendBytes(b, requestID, r.ID)
	b = appendBytes(b, requestHash, r.Hash)
	b = appendBytes(b, requestOutcome, r.Outcome)
	return appendUint(b, requestReduced, bit(r.Reduced))
}

func bit(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func uintSize(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

func bytesSize(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

func opSize(op *Op) int {
	return uintSize(uint64(op.Kind)) + bytesSize(len(op.Key)) + bytesSize(len(op.Value)) + uintSize(uint64(op.Lease))
}

func seenSize(origin string, revision int64) int {
	return bytesSize(len(origin)) + uintSize(uint64(revision))
}

// frameSize is at least what appendFrame appends.
func frameSize(f *Frame) int {
	n := uintSize(f.version()) + bytesSize(len(f.Origin)) + 9 + uintSize(uint64(f.PrevRevision)) + bytesSize(len(f.PrevHash))
	for origin, revision := range f.Seen {
		n += bytesSize(seenSize(origin, revision))
	}
	for i := range f.Txns {
		n += 1 + protowire.SizeBytes(txnSize(&f.Txns[i]))
	}
	return n
}

func txnSize(t *Txn) int {
	n := uintSize(uint64(t.Revision)) + uintSize(uint64(t.Stamp))
	for i := range t.Ops {
		n += 1 + protowire.SizeBytes(opSize(&t.Ops[i]))
	}
	if t.Request != nil {
		n += 1 + protowire.SizeBytes(requestSize(t.Request))
	}
	if t.Home != nil {
		n += 1 + protowire.SizeBytes(homeSize(t.Home))
	}
	return n
}

func requestSize(r *Request) int {
	return bytesSize(len(r.ID)) + bytesSize(len(r.Hash)) + bytesSize(len(r.Outcome)) + uintSize(bit(r.Reduced))
}

// field is one decoded field: v for varint and fixed64, b for bytes.
type field struct {
	num protowire.Number
	typ protowire.Type
	v   uint64
	b   []byte
}

var errType = errors.New("field has the wrong wire type")

// fields calls fn for each field of a message and stops at its first error. Unknown fields reach fn too,
// which ignores them: a newer writer may add fields.
func fields(b []byte, fn func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		f := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			f.v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			f.v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.b, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := fn(f); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
	}
	return nil
}

func (f field) want(typ protowire.Type) error {
	if f.typ != typ {
		return errType
	}
	return nil
}

func decodeFrame(b []byte) (*Frame, error) {
	txns := countTxns(b)
	f := &Frame{Txns: make([]Txn, 0, txns)}
	ops := make([]Op, 0, txns) // of all of them: most have one
	version := uint64(0)
	err := fields(b, func(x field) error {
		switch x.num {
		case fieldVersion:
			version = x.v
			return x.want(protowire.VarintType)
		case fieldOrigin:
			f.Origin = string(x.b)
			return x.want(protowire.BytesType)
		case fieldIncarnation:
			f.Incarnation = x.v
			return x.want(protowire.Fixed64Type)
		case fieldPrevRevision:
			f.PrevRevision = int64(x.v)
			return x.want(protowire.VarintType)
		case fieldPrevHash:
			if len(x.b) != len(f.PrevHash) {
				return fmt.Errorf("hash has %d bytes", len(x.b))
			}
			copy(f.PrevHash[:], x.b)
			return x.want(protowire.BytesType)
		case fieldSeen:
			return decodeSeen(f, x)
		case fieldTxn:
			t, err := decodeTxn(x, &ops)
			f.Txns = append(f.Txns, t)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if version < plainVersion || version > FrameVersion {
		return nil, fmt.Errorf("version %d, this build reads %d to %d", version, plainVersion, FrameVersion)
	}
	if least := f.version(); version < least {
		return nil, fmt.Errorf("version %d with operations of version %d", version, least)
	}
	if f.PrevRevision < 0 {
		return nil, fmt.Errorf("previous revision %d", f.PrevRevision)
	}
	return f, nil
}

func decodeSeen(f *Frame, x field) error {
	if err := x.want(protowire.BytesType); err != nil {
		return err
	}
	var origin string
	var revision int64
	err := fields(x.b, func(y field) error {
		switch y.num {
		case seenOrigin:
			origin = string(y.b)
			return y.want(protowire.BytesType)
		case seenRevision:
			revision = int64(y.v)
			return y.want(protowire.VarintType)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f.Seen == nil {
		f.Seen = Vector{}
	}
	f.Seen[origin] = revision
	return nil
}

// countTxns counts the transactions, up to what is no field.
func countTxns(b []byte) (n int) {
	for len(b) > 0 {
		num, _, size := protowire.ConsumeField(b)
		if size < 0 {
			break
		}
		if num == fieldTxn {
			n++
		}
		b = b[size:]
	}
	return n
}

// decodeTxn puts the operations behind those that are there.
func decodeTxn(x field, ops *[]Op) (Txn, error) {
	var t Txn
	first := len(*ops)
	if err := x.want(protowire.BytesType); err != nil {
		return t, err
	}
	err := fields(x.b, func(y field) error {
		switch y.num {
		case txnRevision:
			t.Revision = int64(y.v)
			return y.want(protowire.VarintType)
		case txnStamp:
			t.Stamp = Stamp(y.v)
			return y.want(protowire.VarintType)
		case txnOp:
			op, err := decodeOp(y)
			*ops = append(*ops, op)
			return err
		case txnRequest:
			r, err := decodeRequest(y)
			t.Request = r
			return err
		case txnHome:
			h, err := decodeHome(y)
			t.Home = h
			return err
		}
		return nil
	})
	if n := len(*ops); n > first {
		t.Ops = (*ops)[first:n:n]
	}
	return t, err
}

func decodeRequest(x field) (*Request, error) {
	r := &Request{}
	if err := x.want(protowire.BytesType); err != nil {
		return nil, err
	}
	err := fields(x.b, func(y field) error {
		switch y.num {
		case requestID:
			r.ID = y.b
			return y.want(protowire.BytesType)
		case requestHash:
			r.Hash = y.b
			return y.want(protowire.BytesType)
		case requestOutcome:
			r.Outcome = y.b
			return y.want(protowire.BytesType)
		case requestReduced:
			r.Reduced = y.v != 0
			return y.want(protowire.VarintType)
		}
		return nil
	})
	return r, err
}

func decodeOp(x field) (Op, error) {
	var op Op
	if err := x.want(protowire.BytesType); err != nil {
		return op, err
	}
	err := fields(x.b, func(y field) error {
		switch y.num {
		case opKind:
			if y.v > 255 {
				return fmt.Errorf("kind %d", y.v)
			}
			op.Kind = OpKind(y.v)
			return y.want(protowire.VarintType)
		case opKey:
			op.Key = y.b
			return y.want(protowire.BytesType)
		case opValue:
			op.Value = y.b
			return y.want(protowire.BytesType)
		case opLease:
			op.Lease = int64(y.v)
			return y.want(protowire.VarintType)
		}
		return nil
	})
	return op, err
}
