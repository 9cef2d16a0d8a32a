package gateway

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// localizer gives the answer of a keyspace's home in the revisions of this datacenter. That is exact because the keyspace is
// the same here at the revision where the transaction was applied as it was at the home right after it: all
// datacenters apply a keyspace's transactions in the home's order, each at one revision.
type localizer struct {
	*Server
	origin   string // of the transaction: the home, or who made a repeated write first
	revision int64  // there, of the transaction; of one that changed nothing, up to which it saw the keyspace
	since    int64  // the transaction was applied here after this revision
	changed  bool
	points   []point // of one that changed nothing: what it saw

	at int64 // the local revision of the answer
}

func (l *localizer) localize(ctx context.Context, resp proto.Message) error {
	if !l.changed {
		if h := headerOf(resp); h != nil && h.Revision > 0 {
			l.revision = min(l.revision, h.Revision) // the home has gone on since
		}
	}
	if err := l.await(ctx); err != nil {
		return err
	}
	at, last, err := l.cfg.Origins.Locate(l.origin, l.revision, l.since)
	if err != nil {
		return err
	}
	if l.at = at; at == 0 || !l.changed {
		l.at = last
	}
	return l.message(ctx, resp)
}

// await returns once this node has applied what the answer shows.
func (l *localizer) await(ctx context.Context) error {
	if err := l.awaitPoints(ctx, l.points); err != nil {
		return err
	}
	return l.awaitApplied(ctx, func() error {
		if at := l.dc.Position(l.origin).Revision; at < l.revision {
			return fmt.Errorf("it has applied %s up to %d and needs %d", l.origin, at, l.revision) //nolint:err113 // of one message
		}
		return nil
	})
}

func headerOf(resp proto.Message) *pb.ResponseHeader {
	if r, ok := resp.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return r.GetHeader()
	}
	return nil
}

func (l *localizer) message(ctx context.Context, resp proto.Message) error {
	if h := headerOf(resp); h != nil {
		h.Revision = l.at
		l.fill(h)
	}
	switch r := resp.(type) {
	case *pb.PutResponse:
		return l.kvs(ctx, []*mvccpb.KeyValue{r.PrevKv})
	case *pb.DeleteRangeResponse:
		return l.kvs(ctx, r.PrevKvs)
	case *pb.RangeResponse:
		return l.kvs(ctx, r.Kvs)
	case *pb.TxnResponse:
		for _, op := range r.Responses {
			if err := l.op(ctx, op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *localizer) op(ctx context.Context, op *pb.ResponseOp) error {
	switch x := op.Response.(type) {
	case *pb.ResponseOp_ResponsePut:
		return l.message(ctx, x.ResponsePut)
	case *pb.ResponseOp_ResponseDeleteRange:
		return l.message(ctx, x.ResponseDeleteRange)
	case *pb.ResponseOp_ResponseRange:
		return l.message(ctx, x.ResponseRange)
	case *pb.ResponseOp_ResponseTxn:
		return l.message(ctx, x.ResponseTxn)
	}
	return nil
}

func (l *localizer) kvs(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	for _, kv := range kvs {
		if kv == nil {
			continue
		}
		if err := l.kv(ctx, kv); err != nil {
			return err
		}
	}
	return nil
}

// kv finds the version here: what the transaction wrote stands at its revision, what it found just before.
func (l *localizer) kv(ctx context.Context, kv *mvccpb.KeyValue) error {
	at := l.at
	if l.changed && kv.ModRevision != l.revision {
		at--
	}
	here, err := l.versionAt(ctx, kv.Key, at)
	if err != nil {
		return err
	}
	if here != nil && (len(kv.Value) == 0 || bytes.Equal(here.Value, kv.Value)) {
		kv.ModRevision, kv.CreateRevision, kv.Version = here.ModRevision, here.CreateRevision, here.Version
		return nil
	}
	// It is superseded and no longer kept here, or came here only as part of a snapshot. Nothing that a client may
	// do with its revisions succeeds at the home, so they only have to lie before what took its place.
	newest, err := l.versionAt(ctx, kv.Key, 0)
	if err != nil {
		return err
	}
	kv.ModRevision = l.at
	if newest != nil {
		kv.ModRevision = min(l.at, newest.ModRevision-1)
	}
	kv.CreateRevision = kv.ModRevision
	return nil
}

// versionAt is a key as it is here at a revision, 0 for now; nil when it was not there or that is compacted.
func (l *localizer) versionAt(ctx context.Context, key []byte, at int64) (*mvccpb.KeyValue, error) {
	resp, err := l.dc.Range(ctx, &pb.RangeRequest{Key: key, Revision: at, Serializable: true})
	if isCompacted(err) {
		return nil, nil
	}
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return resp.Kvs[0], nil
}
