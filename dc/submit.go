package dc

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Outcome is told what became of a submitted write, once, by the goroutine that applies: it must not block. What each error
// means is as for a write that is waited for; the response is the receiver's.
type Outcome interface {
	Done(response proto.Message, made Commit, err error)
}

// SubmitPut is [DC.Put] for who does not wait: encoded is the request as its client sent it, which goes into the log as it
// is. An error means that the write was not proposed and never will be, and that to is not told. After abandon to
// may still be told, or never.
func (d *DC) SubmitPut(r *pb.PutRequest, encoded []byte, to Outcome) (abandon func(), err error) {
	return d.submit(kindPut, r, encoded, to)
}

// SubmitTxn is [DC.Txn] in the manner of [DC.SubmitPut].
func (d *DC) SubmitTxn(r *pb.TxnRequest, encoded []byte, to Outcome) (abandon func(), err error) {
	return d.submit(kindTxn, r, encoded, to)
}

func (d *DC) submit(k kind, r proto.Message, encoded []byte, to Outcome) (func(), error) {
	if d.space.refuse(k, r) {
		return nil, fmt.Errorf("%w: %s", ErrLowDisk, d.space.problem())
	}
	if err := d.room(k, r); err != nil {
		return nil, err
	}
	p := &pending{item: item{kind: k, payload: encoded}, told: to}
	if err := d.queue.enter(p); err != nil {
		return nil, err
	}
	return p.abandon, nil
}

// DecodePut reads an encoded PutRequest without copying: key and value are slices of b.
func DecodePut(b []byte) (*pb.PutRequest, error) {
	r, err := decodePut(b)
	if err != nil {
		return nil, err
	}
	return &pb.PutRequest{
		Key: r.key, Value: r.value, Lease: r.lease, PrevKv: r.prevKv, IgnoreValue: r.ignoreValue, IgnoreLease: r.ignoreLease,
	}, nil
}
