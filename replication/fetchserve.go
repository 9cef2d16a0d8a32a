package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"geogate/replication/event"
	"geogate/replication/wire"
)

// maxWindowBytes bounds what a peer may ask for at once.
const maxWindowBytes = 64 << 20

// fetchJob is a request for a window of a snapshot or of a third DC's frames.
type fetchJob struct {
	msg *nats.Msg
	req *wire.FetchRequest
}

// onFetch takes a request off the wire. One that still waits is replaced: its sender has given up.
func (e *Engine) onFetch(m *nats.Msg) {
	req := &wire.FetchRequest{}
	peer, ok := e.verified(m, wire.Kind_KIND_FETCH_REQUEST, req)
	if !ok || req.From != peer || req.To != e.cfg.Local {
		return
	}
	e.handing.RLock()
	defer e.handing.RUnlock()
	l := e.current.Load()
	if l == nil {
		if e.embedded != nil {
			w := &window{e: e, msg: m, req: req}
			w.end(&wire.FetchReply{Status: wire.FetchStatus_FETCH_NOT_LEADER, Leader: e.leader(), Detail: "this node does not lead"})
		}
		return
	}
	p := l.peers[peer]
	for {
		select {
		case p.fetches <- fetchJob{msg: m, req: req}:
			return
		default:
		}
		select {
		case <-p.fetches:
		default:
		}
	}
}

// serveFetches answers the requests of one peer, one at a time.
func (l *lead) serveFetches(ctx context.Context, p *peer) {
	for {
		select {
		case j := <-p.fetches:
			l.serveFetch(ctx, j)
		case <-ctx.Done():
			return
		}
	}
}

func (l *lead) serveFetch(ctx context.Context, j fetchJob) {
	w := &window{e: l.Engine, msg: j.msg, req: j.req, left: int(min(j.req.WindowBytes, maxWindowBytes))}
	var err error
	switch what := j.req.What.(type) {
	case *wire.FetchRequest_Snapshot:
		err = l.serveSnapshot(ctx, w, what.Snapshot)
	case *wire.FetchRequest_Frames:
		err = l.serveFrames(ctx, w, what.Frames)
	case *wire.FetchRequest_Key:
		err = l.serveKey(ctx, w, what.Key)
	default:
		err = errors.New("this build does not know what is asked for")
	}
	if err == nil {
		return
	}
	status := wire.FetchStatus_FETCH_RETRY
	if errors.Is(err, errNewLife) {
		status = wire.FetchStatus_FETCH_INCARNATION
	} else if errors.Is(err, ErrTrimmed) {
		status = wire.FetchStatus_FETCH_TRIMMED
	}
	w.end(&wire.FetchReply{Status: status, Detail: err.Error()})
}

func (l *lead) serveSnapshot(ctx context.Context, w *window, at *wire.SnapshotCursor) error {
	if l.cfg.Snapshots == nil {
		return errors.New("this datacenter gives no snapshots")
	}
	life := l.cfg.Incarnation()
	if life == 0 {
		return errors.New("this datacenter has no incarnation yet")
	}
	if at.Incarnation != 0 && at.Incarnation != life {
		return errNewLife
	}
	marks, since, high, err := l.cfg.Snapshots.SnapshotMarks() // before the first key is read
	if err != nil {
		return fmt.Errorf("begin a snapshot: %w", err)
	}
	w.first = &wire.FetchReply{Incarnation: life, Revision: since, High: uint64(high), Vector: wire.FromMarks(marks, true)}
	after := at.After
	for ctx.Err() == nil {
		chunk, last, done, err := l.cfg.Snapshots.Export(ctx, after, at.Since, l.cfg.ChunkBytes)
		if err != nil {
			return fmt.Errorf("export behind %q: %w", after, err)
		}
		ends := w.left <= len(chunk) || done
		if ends {
			if err := l.stillSettled(marks); err != nil {
				return err
			}
		}
		if err := w.send(ctx, l.pace, chunk, last, ends, done); err != nil {
			return err
		}
		if after = last; done || w.left <= 0 {
			return nil
		}
	}
	return ctx.Err()
}

// stillSettled fails when less than the marks of a window's beginning is settled: where a home has moved meanwhile,
// states of the new one are left out that were given before. What was sent is merged, which does no harm, and the window
// is asked for again.
func (l *lead) stillSettled(marks []event.Mark) error {
	now, _, _, err := l.cfg.Snapshots.SnapshotMarks()
	if err != nil {
		return fmt.Errorf("end a window of a snapshot: %w", err)
	}
	if _, lowered := event.Lower(marks, now); lowered {
		return errors.New("less is settled than when the window was begun, as after a move of a home: ask again")
	}
	return nil
}

// serveFrames sends what this DC retains of another origin's chain.
func (l *lead) serveFrames(ctx context.Context, w *window, at *wire.FramesCursor) error {
	from, err := at.Position.In(at.Origin)
	if err != nil {
		return err
	}
	own := l.cfg.Chain.Position(at.Origin)
	fresh := from.Incarnation == 0 && from.Revision == 0
	if at.Origin == w.req.From || (own.Incarnation != from.Incarnation && !fresh) {
		return fmt.Errorf("position %s, this datacenter stands at %s", from, own)
	}
	w.first = &wire.FetchReply{Incarnation: own.Incarnation, Revision: own.Revision}
	frames, err := l.cfg.Chain.Frames(at.Origin, from.Revision, w.left)
	if err != nil {
		return fmt.Errorf("read the chain of %s behind %d: %w", at.Origin, from.Revision, err)
	}
	if len(frames) == 0 {
		return fmt.Errorf("nothing of %s behind %d here", at.Origin, from.Revision)
	}
	for i := range frames {
		last := i == len(frames)-1
		if err := w.send(ctx, l.pace, frames[i].Bytes, nil, last, last && frames[i].Last == own.Revision); err != nil {
			return err
		}
	}
	return nil
}

// window is the answer to one request, message by message.
type window struct {
	e     *Engine
	msg   *nats.Msg
	req   *wire.FetchRequest
	index uint32
	left  int              // bytes still to send for this request
	first *wire.FetchReply // what the first message says beside its data
}

// send sends a piece in parts. Last says that it ends the window, done that nothing is left behind it.
func (w *window) send(ctx context.Context, pace *pace, piece, key []byte, last, done bool) error {
	pace.take(ctx, len(piece))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	codec, data := w.e.pieces.Compress(piece, wire.Takes(w.req.Codecs) && !w.e.cfg.WithoutZstd)
	size := w.e.cfg.PartBytes
	parts := max(1, (len(data)+size-1)/size)
	for i := range parts {
		reply := &wire.FetchReply{}
		if w.first != nil {
			reply, w.first = w.first, nil
		}
		reply.Status = wire.FetchStatus_FETCH_OK
		reply.Part, reply.Parts, reply.RawBytes, reply.Codec = uint32(i), uint32(parts), uint64(len(piece)), codec
		reply.Data = data[i*size : min((i+1)*size, len(data))]
		if i == parts-1 {
			reply.Key, reply.Last, reply.Done = key, last, done
		}
		if err := w.respond(reply); err != nil {
			return err
		}
	}
	w.left -= len(piece)
	w.e.metrics.fetchSent.WithLabelValues(w.req.From).Add(float64(len(data)))
	return nil
}

// end ends the window with a status.
func (w *window) end(reply *wire.FetchReply) {
	reply.Last = true
	if err := w.respond(reply); err != nil {
		w.e.cfg.Logger.Warn("answer a peer", "kind", wire.Kind_KIND_FETCH_REPLY.String(), "error", err)
	}
}

func (w *window) respond(reply *wire.FetchReply) error {
	reply.From, reply.To, reply.Nonce, reply.Index = w.e.cfg.Local, w.req.From, w.req.Nonce, w.index
	w.index++
	b, err := w.e.signer.Seal(wire.Kind_KIND_FETCH_REPLY, reply)
	if err != nil {
		return err
	}
	return w.msg.Respond(b)
}
