package gateway

import (
	"context"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/replication/policy"
	"geogate/replication/progress"
)

// lostKey is of puts that are submitted and have no outcome.
const lostKey = "lost"

// Submitted writes of the fakes are ordinary ones on a goroutine of their own.

func (n fakeNode) SubmitPut(r *pb.PutRequest, _ []byte, to dc.Outcome) (abandon func(), err error) {
	if string(r.Key) == lostKey {
		n.lost.Add(1)
		return func() { n.abandoned.Add(1) }, nil
	}
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

// Notify of the fakes is a Wait on a goroutine of its own.
func (r fakeReplication) Notify(revision int64, p policy.Policy, to progress.Receiver) (cancel func() []string, ok bool) {
	if _, leading := r.node.Leading(); !leading {
		return nil, false
	}
	if r.asking != nil {
		r.asking()
	}
	ctx, end := context.WithCancel(context.Background())
	go func() { to.Confirmed(r.Wait(ctx, revision, p)) }()
	return func() []string { end(); return nil }, true
}

func (p fedPeers) Notify(int64, policy.Policy, progress.Receiver) (cancel func() []string, ok bool) {
	return nil, false
}

func (nobody) Notify(int64, policy.Policy, progress.Receiver) (cancel func() []string, ok bool) {
	return nil, false
}
