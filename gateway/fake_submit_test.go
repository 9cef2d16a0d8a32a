package gateway

import (
	"context"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
)

// Submitted writes of the fakes are ordinary ones on a goroutine of their own.

func (n fakeNode) SubmitPut(r *pb.PutRequest, _ []byte, to dc.Outcome) (abandon func(), err error) {
	return submit(to, func(ctx context.Context) (proto.Message, dc.Commit, error) { return n.Put(ctx, r) })
}

func (n fakeNode) SubmitTxn(r *pb.TxnRequest, _ []byte, to dc.Outcome) (abandon func(), err error) {
	return submit(to, func(ctx context.Context) (proto.Message, dc.Commit, error) { return n.Txn(ctx, r) })
}

func (d *instant) SubmitPut(r *pb.PutRequest, _ []byte, to dc.Outcome) (abandon func(), err error) {
	resp, made, err := d.Put(context.Background(), r)
	to.Done(resp, made, err)
	return func() {}, nil
}

func submit(to dc.Outcome, write func(context.Context) (proto.Message, dc.Commit, error)) (abandon func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		to.Done(write(ctx))
	}()
	return cancel, nil
}
