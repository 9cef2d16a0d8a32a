package dc

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
)

// maxOutcomeBytes bounds the answer that is kept with a request id, here and in a frame.
const maxOutcomeBytes = 1 << 10

// record is what the table keeps under a request id; README.md has its fields.
type record struct {
	hash     []byte
	origin   string // the DC where the request was applied first
	revision int64  // origin revision; 0 when it changed nothing
	stamp    event.Stamp
	local    int64   // revision of this DC with the request applied
	refusal  refusal // not 0: that was the answer
	response []byte  // etcdserverpb.ResponseOp
	whole    bool    // response is the first answer as it was, revisions, keys and values included
	reduced  bool    // the first answer had something that response leaves out
}

const (
	recordHash     = 1
	recordOrigin   = 2
	recordRevision = 3
	recordStamp    = 4
	recordLocal    = 5
	recordRefusal  = 6
	recordResponse = 7
	recordWhole    = 8
	recordReduced  = 9
)

func (r *record) marshal() []byte {
	b := make([]byte, 0, len(r.hash)+len(r.origin)+len(r.response)+48)
	b = protowire.AppendTag(b, recordHash, protowire.BytesType)
	b = protowire.AppendBytes(b, r.hash)
	b = protowire.AppendTag(b, recordOrigin, protowire.BytesType)
	b = protowire.AppendString(b, r.origin)
	b = appendVarint(b, recordRevision, uint64(r.revision))
	b = appendVarint(b, recordStamp, uint64(r.stamp))
	b = appendVarint(b, recordLocal, uint64(r.local))
	b = appendVarint(b, recordRefusal, uint64(r.refusal))
	b = protowire.AppendTag(b, recordResponse, protowire.BytesType)
	b = protowire.AppendBytes(b, r.response)
	b = appendVarint(b, recordWhole, protowire.EncodeBool(r.whole))
	return appendVarint(b, recordReduced, protowire.EncodeBool(r.reduced))
}

// appendVarint leaves zero out.
func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func decodeRecord(b []byte) (*record, error) {
	r := &record{}
	err := eachField(b, func(num protowire.Number, v uint64, raw []byte) {
		switch num {
		case recordHash:
			r.hash = raw
		case recordOrigin:
			r.origin = string(raw)
		case recordRevision:
			r.revision = int64(v)
		case recordStamp:
			r.stamp = event.Stamp(v)
		case recordLocal:
			r.local = int64(v)
		case recordRefusal:
			r.refusal = refusal(v)
		case recordResponse:
			r.response = raw
		case recordWhole:
			r.whole = v != 0
		case recordReduced:
			r.reduced = v != 0
		}
	})
	if err != nil {
		return nil, fmt.Errorf("record of a request: %w: the store is damaged", err)
	}
	return r, nil
}

// keep takes the answer whole when it is small, else without what is large.
func (r *record) keep(response proto.Message) {
	op := wrapResponse(response)
	if proto.Size(op) <= maxOutcomeBytes {
		if raw, err := proto.Marshal(op); err == nil {
			r.response, r.whole = raw, true
			return
		}
	}
	r.response, r.reduced = outline(op)
}

// answer is the first answer, as far as it was kept. Revisions that were not kept are the one that this DC
// had with the request applied: the client can read and watch from there. What another DC sent and nobody can read
// is as good as not kept: that the request was applied is known all the same.
func (r *record) answer(k kind) (proto.Message, error) {
	op := &pb.ResponseOp{}
	if err := proto.Unmarshal(r.response, op); err != nil {
		if r.whole {
			return nil, fmt.Errorf("answer kept with a request: %w: the store is damaged", err)
		}
		op.Reset()
		r.reduced = true
	}
	var response proto.Message
	switch k {
	case kindPut:
		if op.GetResponsePut() == nil {
			op.Response = &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}
		}
		response = op.GetResponsePut()
	case kindDelete:
		if op.GetResponseDeleteRange() == nil {
			op.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{}}
		}
		response = op.GetResponseDeleteRange()
	default:
		if op.GetResponseTxn() == nil {
			op.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: &pb.TxnResponse{}}
		}
		response = op.GetResponseTxn()
	}
	if !r.whole {
		fillHeaders(op, r.local)
	}
	return response, nil
}

func wrapResponse(response proto.Message) *pb.ResponseOp {
	switch x := response.(type) {
	case *pb.PutResponse:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: x}}
	case *pb.DeleteRangeResponse:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: x}}
	case *pb.TxnResponse:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: x}}
	}
	panic(fmt.Sprintf("dc: %T is no answer of a write", response))
}

func fillHeaders(op *pb.ResponseOp, revision int64) {
	h := &pb.ResponseHeader{Revision: revision}
	switch x := op.GetResponse().(type) {
	case *pb.ResponseOp_ResponsePut:
		x.ResponsePut.Header = h
	case *pb.ResponseOp_ResponseDeleteRange:
		x.ResponseDeleteRange.Header = h
	case *pb.ResponseOp_ResponseRange:
		x.ResponseRange.Header = h
	case *pb.ResponseOp_ResponseTxn:
		x.ResponseTxn.Header = h
		for _, inner := range x.ResponseTxn.Responses {
			fillHeaders(inner, revision)
		}
	}
}

// frameRequest is what travels with the transaction: revisions are a DC's own, and so are the versions that
// an answer shows, so neither goes along.
func frameRequest(q *request, response proto.Message) *event.Request {
	outcome, reduced := outline(wrapResponse(response))
	return &event.Request{ID: q.id, Hash: q.hash, Outcome: outcome, Reduced: reduced}
}

// outline encodes an answer without headers, keys and values, and without the responses of a Txn when even
// that is too long. Every replica of the origin writes it into the frame, which is hashed, so it is written
// by hand: generated code does not promise the same bytes in every build.
func outline(op *pb.ResponseOp) (b []byte, reduced bool) {
	b, reduced = appendOutline(nil, op, true)
	if len(b) > maxOutcomeBytes {
		b, _ = appendOutline(nil, op, false)
		return b, true
	}
	return b, reduced
}

func appendOutline(b []byte, op *pb.ResponseOp, deep bool) (out []byte, reduced bool) {
	var num protowire.Number
	var body []byte
	switch x := op.GetResponse().(type) {
	case *pb.ResponseOp_ResponseRange:
		num, reduced = 1, len(x.ResponseRange.Kvs) > 0
		body = appendVarint(body, 3, protowire.EncodeBool(x.ResponseRange.More))
		body = appendVarint(body, 4, uint64(x.ResponseRange.Count))
	case *pb.ResponseOp_ResponsePut:
		num, reduced = 2, x.ResponsePut.PrevKv != nil
	case *pb.ResponseOp_ResponseDeleteRange:
		num, reduced = 3, len(x.ResponseDeleteRange.PrevKvs) > 0
		body = appendVarint(body, 2, uint64(x.ResponseDeleteRange.Deleted))
	case *pb.ResponseOp_ResponseTxn:
		num = 4
		body = appendVarint(body, 2, protowire.EncodeBool(x.ResponseTxn.Succeeded))
		for _, inner := range x.ResponseTxn.Responses {
			if !deep {
				break
			}
			raw, less := appendOutline(nil, inner, true)
			reduced = reduced || less
			body = protowire.AppendTag(body, 3, protowire.BytesType)
			body = protowire.AppendBytes(body, raw)
		}
	default:
		return b, false
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, body), reduced
}
