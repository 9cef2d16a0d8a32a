package dc

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
)

// Put commits a put in this DC, at most once for each [WithRequestID]. Only the leader takes writes; see
// errors.go for what each error means. A returned response is committed and fsynced by a majority of the group, and visible on this node.
func (d *DC) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, Commit, error) {
	return write[*pb.PutResponse](ctx, d, kindPut, r)
}

// DeleteRange commits a delete; deleting nothing takes no revision.
func (d *DC) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, Commit, error) {
	return write[*pb.DeleteRangeResponse](ctx, d, kindDelete, r)
}

// Txn commits a transaction. One that can't write is better served by [DC.ReadTxn].
func (d *DC) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, Commit, error) {
	return write[*pb.TxnResponse](ctx, d, kindTxn, r)
}

// Compact drops history below a revision in this DC only: revisions are a DC's own.
func (d *DC) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	resp, _, err := write[*pb.CompactionResponse](ctx, d, kindCompact, r)
	return resp, err
}

func write[R proto.Message](ctx context.Context, d *DC, k kind, req proto.Message) (R, Commit, error) {
	var none R
	if d.space.refuse(k, req) {
		return none, Commit{}, fmt.Errorf("%w: %s", ErrLowDisk, d.space.problem())
	}
	p := d.queue.pending()
	if err := d.fill(ctx, p, k, req); err != nil {
		d.queue.recycle(p)
		return none, Commit{}, err
	}
	p, err := d.queue.submit(p)
	if err != nil {
		return none, Commit{}, err
	}
	r := d.queue.wait(ctx, p)
	if r.err != nil {
		return none, Commit{}, r.err
	}
	return r.response.(R), r.commit, nil
}

// fill makes a write what a proposal asks for.
func (d *DC) fill(ctx context.Context, p *pending, k kind, req proto.Message) (err error) {
	if p.buf, err = appendRequest(p.buf[:0], req); err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	id, client := "", k != kindCompact && k != kindAlarm
	p.item = item{kind: k, payload: p.buf, auth: d.authRevision(ctx)}
	if client {
		id, p.item.keyspace = requestID(ctx), keyspaceOf(ctx)
	}
	// A repetition has its answer already, whatever room there is.
	if id == "" {
		if err := d.room(k, req); err != nil {
			return err
		}
	}
	if id != "" {
		told, err := asked(ctx, p.item.payload)
		if err != nil {
			return err
		}
		if p.item, err = p.item.withIDOf(id, told); err != nil {
			return err
		}
	}
	if g := DegradedOf(ctx); g != nil {
		if p.item.note, err = json.Marshal(g); err != nil {
			return fmt.Errorf("encode note: %w", err)
		}
	}
	return nil
}

// appendRequest encodes a request, always in the same bytes: a retry must have the same hash.
func appendRequest(b []byte, req proto.Message) ([]byte, error) {
	if r, ok := req.(*pb.PutRequest); ok && len(r.ProtoReflect().GetUnknown()) == 0 {
		return appendPut(b, r), nil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, req)
}

// Propose hands a received frame to the group. The channel gets one value: nil once the frame's effects
// are committed and applied here, or were before; [event.ErrGap] or [event.ErrIncarnation] when it does not
// continue the chain; [event.ErrHeld] when it must wait for a move of a keyspace; else one of the errors of a write. Frames are applied in the order of their Propose,
// which waits, until ctx ends, while the queue is full.
func (d *DC) Propose(ctx context.Context, s event.Sealed) (<-chan error, error) {
	done := make(chan error, 1)
	if err := d.heldBack(&s); err != nil {
		done <- err
		return done, nil
	}
	p, err := d.queue.addPatiently(ctx, item{kind: kindFrame, payload: s.Bytes})
	if err != nil {
		return nil, err
	}
	go func() { done <- d.queue.wait(ctx, p).err }()
	return done, nil
}

// Confirm records what every DC is known to have applied: rows are DCs, this one included. The chains are
// trimmed to what all have, and tombstones that no late write can reach any more are collected. A matrix
// in which a DC of the topology is missing changes nothing, nor does one whose revisions are not all of the
// lives, by origin, that are the present ones when it is applied.
func (d *DC) Confirm(ctx context.Context, matrix map[string]event.Vector, lives map[string]uint64) error {
	m := matrixEntry{}
	for _, name := range d.origins {
		row, ok := matrix[name]
		if !ok {
			return nil
		}
		m[name] = row
	}
	return d.confirm(ctx, m, note{Lives: lives})
}

func (d *DC) confirm(ctx context.Context, m matrixEntry, n note) error {
	payload, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode confirmations: %w", err)
	}
	extra, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode confirmations: %w", err)
	}
	p, err := d.queue.add(item{kind: kindConfirm, payload: payload, note: extra})
	if err != nil {
		return err
	}
	return d.queue.wait(ctx, p).err
}
