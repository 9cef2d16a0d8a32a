package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/nats-io/nats.go"

	"geogate/replication/wire"
)

// fetched is what a window said beside its pieces.
type fetched struct {
	first wire.FetchReply // its data taken out
	key   []byte          // the cursor behind the last piece
	done  bool
}

// fetch asks the other side for a window and hands each piece to take, in order. An error of take ends it.
func (k *link) fetch(ctx context.Context, req *wire.FetchRequest, take func(first *wire.FetchReply, piece []byte) error) (*fetched, error) {
	r := k.r
	req.From, req.To, req.Nonce, req.WindowBytes = r.cfg.Local, r.peer.Name, rand.Uint64(), uint64(r.cfg.FetchWindowBytes)
	req.Codecs = r.codecs()
	b, err := r.signer.Seal(wire.Kind_KIND_FETCH_REQUEST, req)
	if err != nil {
		return nil, err
	}
	inbox := k.nc.NewInbox()
	sub, err := k.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDisconnect, err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	// The window bounds what may come; the client's own limit must not drop any of it.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	if err := k.nc.PublishRequest(fetchSubject(r.peer.Name, r.cfg.Local), inbox, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errDisconnect, err)
	}
	f := &fetched{}
	var piece []byte
	for index := uint32(0); ; index++ {
		reply, err := k.nextReply(ctx, sub, req.Nonce, index)
		if err != nil {
			return nil, err
		}
		r.heard()
		if index == 0 {
			f.first.Incarnation, f.first.Revision, f.first.High, f.first.Vector = reply.Incarnation, reply.Revision, reply.High, reply.Vector
		}
		piece = append(piece, reply.Data...)
		if len(piece) > 2*r.cfg.MaxFrameBytes || reply.RawBytes > uint64(r.cfg.MaxFrameBytes) {
			return nil, fmt.Errorf("%w: piece of more than %d bytes", errFetch, r.cfg.MaxFrameBytes)
		}
		if reply.Part+1 < reply.Parts {
			continue
		}
		raw, err := r.pieces.Decompress(reply.Codec, piece, reply.RawBytes)
		if err != nil {
			return nil, err
		}
		r.metrics.fetchReceived.WithLabelValues(r.peer.Name).Add(float64(len(piece)))
		piece = nil
		if err := take(&f.first, raw); err != nil {
			return nil, err
		}
		f.key, f.done = reply.Key, reply.Done
		if reply.Last {
			return f, nil
		}
	}
}

// nextReply awaits one message of the answer; the sender's pace may make it wait.
func (k *link) nextReply(ctx context.Context, sub *nats.Subscription, nonce uint64, index uint32) (*wire.FetchReply, error) {
	r := k.r
	ctx, cancel := context.WithTimeout(ctx, r.cfg.FetchTimeout)
	defer cancel()
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	reply := &wire.FetchReply{}
	if err := r.verifier.Open(wire.Kind_KIND_FETCH_REPLY, m.Data, reply); err != nil {
		r.metrics.refused.WithLabelValues(r.peer.Name, wire.Kind_KIND_FETCH_REPLY.String()).Inc()
		return nil, err
	}
	if reply.From != r.peer.Name || reply.To != r.cfg.Local || reply.Nonce != nonce || reply.Index != index {
		return nil, fmt.Errorf("%w: message %d where %d belongs", errFetch, reply.Index, index)
	}
	switch reply.Status {
	case wire.FetchStatus_FETCH_OK:
		return reply, nil
	case wire.FetchStatus_FETCH_NOT_LEADER:
		return nil, &redirect{leader: reply.Leader}
	case wire.FetchStatus_FETCH_INCARNATION:
		return nil, errNewLife
	case wire.FetchStatus_FETCH_TRIMMED:
		return nil, fmt.Errorf("%w: %s", errNotKept, reply.Detail)
	}
	return nil, errors.New(reply.Detail)
}
