package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"geogate/replication/verify"
	"geogate/replication/wire"
)

// Verified is this DC's data as it is compared with another DC's, and how a wrong copy is put right. All
// methods are safe for concurrent use and answer from this node alone.
type Verified interface {
	// VerifyState is all buckets, the last of which is the system table, and what this DC has applied, of one
	// moment. Nobody changes it.
	VerifyState() (*verify.State, error)
	// VerifyKeys lists keys of a bucket behind one, in order, tombstones included, and what this DC had
	// applied before it looked at the first.
	VerifyKeys(bucket int, after []byte, most int) (h verify.Holding, keys []verify.Copy, done bool, err error)
	// KeyState is the newest state of a key: opaque to replication.
	KeyState(key []byte) ([]byte, error)
	// Repair puts a key into a state that another DC gave, through this DC's Raft group, if the key is still in
	// the version that was seen here.
	Repair(ctx context.Context, seen verify.Copy, state []byte) (applied bool, err error)
}

// verifyJob is a peer's question for buckets or keys.
type verifyJob struct {
	msg *nats.Msg
	req *wire.VerifyRequest
}

// onVerify takes a question off the wire. One that still waits is replaced: its sender has given up.
func (e *Engine) onVerify(m *nats.Msg) {
	req := &wire.VerifyRequest{}
	peer, ok := e.verified(m, wire.Kind_KIND_VERIFY_REQUEST, req)
	if !ok || req.From != peer || req.To != e.cfg.Local {
		return
	}
	e.handing.RLock()
	defer e.handing.RUnlock()
	l := e.current.Load()
	if l == nil {
		if e.embedded != nil {
			e.answer(verifyJob{m, req}, &wire.VerifyReply{Status: wire.VerifyStatus_VERIFY_NOT_LEADER, Leader: e.leader(), Detail: "this node does not lead"})
		}
		return
	}
	p := l.peers[peer]
	for {
		select {
		case p.verifies <- verifyJob{msg: m, req: req}:
			return
		default:
		}
		select {
		case <-p.verifies:
		default:
		}
	}
}

// serveVerifies answers the questions of one peer, one at a time.
func (l *lead) serveVerifies(ctx context.Context, p *peer) {
	for {
		select {
		case j := <-p.verifies:
			reply, err := l.verification(ctx, j.req)
			if err != nil {
				reply = &wire.VerifyReply{Status: wire.VerifyStatus_VERIFY_RETRY, Detail: err.Error()}
			}
			l.answer(j, reply)
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engine) answer(j verifyJob, reply *wire.VerifyReply) {
	reply.From, reply.To, reply.Nonce = e.cfg.Local, j.req.From, j.req.Nonce
	if size, most := int64(proto.Size(reply)), e.nc.MaxPayload()-1024; size > most {
		reply = &wire.VerifyReply{
			From: reply.From, To: reply.To, Nonce: reply.Nonce, Status: wire.VerifyStatus_VERIFY_RETRY,
			Detail: fmt.Sprintf("the answer has %d bytes, a message of NATS at most %d: raise max_payload", size, most),
		}
	}
	e.send(j.msg, wire.Kind_KIND_VERIFY_REPLY, reply)
}

func (l *lead) verification(ctx context.Context, req *wire.VerifyRequest) (*wire.VerifyReply, error) {
	if l.cfg.Verified == nil {
		return nil, errors.New("this datacenter does not take part in verification")
	}
	reply := &wire.VerifyReply{Status: wire.VerifyStatus_VERIFY_OK}
	switch what := req.What.(type) {
	case *wire.VerifyRequest_Buckets:
		l.await(ctx, what.Buckets.GetHeld())
		s, err := l.cfg.Verified.VerifyState()
		if err != nil {
			return nil, err
		}
		if !what.Buckets.GetSystem() {
			s = s.Cut(len(s.Digests) - 1) // an older build compares the keys alone
		}
		if only := wire.Buckets(what.Buckets.GetOnly(), len(s.Digests)); only != nil {
			s, reply.Only = s.Only(only), true
		}
		reply.SetState(s)
	case *wire.VerifyRequest_Keys:
		h, keys, done, err := l.cfg.Verified.VerifyKeys(int(what.Keys.GetBucket()), what.Keys.GetAfter(), min(int(what.Keys.GetMost()), l.cfg.VerifyPage))
		if err != nil {
			return nil, err
		}
		reply.Held, reply.Reach = wire.FromHolding(&h)
		keys, done = fitting(keys, done)
		for i := range keys {
			reply.Keys = append(reply.Keys, wire.FromCopy(&keys[i]))
		}
		reply.Done = done
	default:
		return nil, errors.New("this build does not know what is asked for")
	}
	return reply, nil
}

// maxPageBytes bounds the names of the keys in one answer.
const maxPageBytes = 256 << 10

// fitting is as many of the keys, at least one, as one message should hold.
func fitting(keys []verify.Copy, done bool) ([]verify.Copy, bool) {
	size := 0
	for i := range keys {
		if size += len(keys[i].Key); size > maxPageBytes && i > 0 {
			return keys[:i], false
		}
	}
	return keys, done
}

// await waits a moment until this DC has applied what another one had.
func (l *lead) await(ctx context.Context, held []*wire.Watermark) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.VerifyWait)
	defer cancel()
	for {
		changed := l.cfg.Chain.Changed()
		if l.covers(held) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (l *lead) covers(held []*wire.Watermark) bool {
	v := l.cfg.Chain.Vector()
	for _, w := range held {
		if !w.Past && v[w.Origin] < w.Revision {
			return false
		}
	}
	return true
}

// serveKey sends the newest state of one key.
func (l *lead) serveKey(ctx context.Context, w *window, at *wire.KeyCursor) error {
	if l.cfg.Verified == nil {
		return errors.New("this datacenter does not take part in verification")
	}
	state, err := l.cfg.Verified.KeyState(at.GetKey())
	if err != nil {
		return fmt.Errorf("state of %q: %w", at.GetKey(), err)
	}
	w.first = &wire.FetchReply{Incarnation: l.cfg.Incarnation()}
	return w.send(ctx, l.pace, state, nil, true, true)
}
