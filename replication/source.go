package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"geogate/replication/event"
	"geogate/replication/health"
	"geogate/replication/wire"
)

// source serves the handshakes of one peer, one at a time, and owns its consumer and its difference.
type source struct {
	*lead
	peer string
	jobs chan syncJob // capacity 1: a newer request replaces one that waits

	// Owned by run.
	diff    *difference // nil while none runs
	gapAt   int64       // where the last pull ended with a gap
	gapSeen int         // how many in a row ended there
}

type syncJob struct {
	msg *nats.Msg
	req *wire.SyncRequest
}

func newSource(l *lead, peer string) *source {
	return &source{lead: l, peer: peer, jobs: make(chan syncJob, 1)}
}

// offer hands over a request and drops the one that still waits: its sender has given up or will repeat it.
func (s *source) offer(j syncJob) {
	for {
		select {
		case s.jobs <- j:
			return
		default:
		}
		select {
		case <-s.jobs:
		default:
		}
	}
}

func (s *source) run(ctx context.Context) {
	defer s.turnAway()
	defer func() { s.diff.stop() }()
	for {
		select {
		case j := <-s.jobs:
			s.respond(j.msg, s.answer(ctx, j.req))
			pause(ctx, s.cfg.SyncMinInterval)
		case <-ctx.Done():
			return
		}
	}
}

// turnAway answers the request that came too late, instead of leaving its sender to its timeout.
func (s *source) turnAway() {
	<-s.retired // none comes after that
	select {
	case j := <-s.jobs:
		reply := s.notLeading(s.peer, j.req.Nonce)
		if s.embedded == nil { // the same connection leads to the next leader
			reply.Status = wire.SyncStatus_SYNC_RETRY
		}
		s.respond(j.msg, reply)
	default:
	}
}

// answer decides where the peer pulls from, and prepares it.
func (s *source) answer(ctx context.Context, req *wire.SyncRequest) *wire.SyncReply {
	s.diff.stop()
	s.diff = nil
	reply := s.replyTo(s.peer, req.Nonce)
	s.noteCodecs(s.peers[s.peer], req)
	at, err := req.Position.In(s.cfg.Local)
	if err == nil {
		err = s.judgePosition(at, reply)
	}
	if err == nil && reply.Status == wire.SyncStatus_SYNC_UNSPECIFIED {
		err = s.prepare(ctx, at, req.Gap, reply)
	}
	if err != nil {
		reply.Status, reply.Detail = wire.SyncStatus_SYNC_RETRY, err.Error()
	}
	s.metrics.handshakes.WithLabelValues(s.peer, reply.Status.String()).Inc()
	return reply
}

// judgePosition sets the status when the position can't be served from this chain.
func (s *source) judgePosition(at event.Position, reply *wire.SyncReply) error {
	own := s.cfg.Chain.Position(s.cfg.Local)
	own.Incarnation = s.cfg.Incarnation()
	reply.Incarnation, reply.Revision = own.Incarnation, own.Revision
	fresh := at.Incarnation == 0 && at.Revision == 0
	refuse := func(status wire.SyncStatus, format string, a ...any) error {
		reply.Status, reply.Detail = status, fmt.Sprintf(format, a...)
		return nil
	}
	switch {
	case own.Incarnation == 0:
		return errors.New("this datacenter has no incarnation yet")
	case !fresh && at.Incarnation != own.Incarnation:
		return refuse(wire.SyncStatus_SYNC_INCARNATION, "position of incarnation %016x, this is %016x", at.Incarnation, own.Incarnation)
	case at.Revision > own.Revision:
		return refuse(wire.SyncStatus_SYNC_DIVERGED, "position %d is ahead of this chain, which ends at %d", at.Revision, own.Revision)
	}
	frames, err := s.cfg.Chain.Frames(s.cfg.Local, at.Revision, 1)
	switch {
	case errors.Is(err, ErrTrimmed):
		return refuse(wire.SyncStatus_SYNC_TOO_OLD, "the frames behind %d are no longer retained", at.Revision)
	case err != nil:
		return fmt.Errorf("read the chain behind %d: %w", at.Revision, err)
	case len(frames) > 0 && (frames[0].PrevRevision != at.Revision || frames[0].PrevHash != at.Hash),
		len(frames) == 0 && at.Revision == own.Revision && at.Hash != own.Hash:
		return refuse(wire.SyncStatus_SYNC_DIVERGED, "position %d#%s is not in this chain", at.Revision, at.Hash)
	case len(frames) == 0 && at.Revision != own.Revision: // as when this datacenter had no peers
		return refuse(wire.SyncStatus_SYNC_TOO_OLD, "no frames behind %d are retained", at.Revision)
	}
	return nil
}

// prepare makes the peer's consumer at the right place.
func (s *source) prepare(ctx context.Context, at event.Position, gap bool, reply *wire.SyncReply) error {
	g := s.outbox.generation()
	if g == nil {
		return errRebuild
	}
	if s.gapAgain(at.Revision, gap) && s.outbox.againFor(g) {
		return fmt.Errorf("gaps again and again behind %d: %w", at.Revision, errRebuild)
	}
	if g.unreadableFor(s.peers[s.peer]) {
		if s.outbox.againFor(g) {
			s.cfg.Logger.Warn("the outbox stream has frames in a form that a peer does not take", "peer", s.peer)
		}
		return fmt.Errorf("frames of the stream are in a form that %s does not take: %w", s.peer, errRebuild)
	}
	// Half of what the peer waits, so that it hears that this DC is alive even when its JetStream is not.
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout/2)
	defer cancel()
	stream, err := s.js.Stream(ctx, streamName(s.cfg.Local))
	if errors.Is(err, jetstream.ErrStreamNotFound) || (err == nil && !stream.CachedInfo().Created.Equal(g.created)) {
		g.again()
		return errStreamLost
	}
	if err != nil {
		return fmt.Errorf("look up the stream: %w", err)
	}
	if !g.hasBegun() {
		g.start(s.floorFor(at.Revision))
	}
	state := stream.CachedInfo().State
	seq, until, live := g.plan(at.Revision, max(1, state.FirstSeq))
	filter := liveSubject(s.cfg.Local)
	if !live {
		seq, filter = state.LastSeq+1, diffSubject(s.cfg.Local, s.peer)
		reply.Source, reply.Until = wire.Source_SOURCE_DIFFERENCE, until
	}
	if err := s.remakeConsumer(ctx, stream, seq, filter); err != nil {
		return err
	}
	if !live {
		s.diff = startDifference(s.lead, s.peer, at.Revision, until)
	}
	reply.Status, reply.ApiPrefix = wire.SyncStatus_SYNC_OK, s.apiPrefix
	reply.Stream, reply.Consumer, reply.Sequence = streamName(s.cfg.Local), consumerName(s.peer), seq
	return nil
}

// gapAgain says whether pulls from the same place have ended with gaps before: then the stream itself is
// at fault, for example because its files are gone.
func (s *source) gapAgain(revision int64, gap bool) bool {
	if !gap || revision != s.gapAt {
		s.gapSeen = 0
	}
	s.gapAt = revision
	if gap {
		s.gapSeen++
	}
	return s.gapSeen >= 2
}

// floorFor is where the live frames should begin when a peer behind revision asks first: at the lowest
// watermark of the peers that are up, so that each finds its frames there, unless that would fill the
// stream with old ones.
func (s *source) floorFor(revision int64) int64 {
	floor := revision
	for name, p := range s.peers {
		p.mu.Lock()
		up := p.machine.State != health.Down
		p.mu.Unlock()
		if acked, known := s.tracker.Acked(name); known && up {
			floor = min(floor, acked)
		}
	}
	for _, candidate := range []int64{floor, revision} {
		if b, err := s.cfg.Chain.Backlog(s.cfg.Local, candidate); err == nil && b.Bytes <= s.fillBytes() {
			return candidate
		}
	}
	return s.cfg.Chain.Position(s.cfg.Local).Revision
}

// fillBytes is how much of the chain may be put into a new stream for all peers.
func (s *source) fillBytes() int64 {
	if e := s.cfg.NATS.Embedded; e != nil {
		return e.MaxBytes / 4
	}
	return s.cfg.NATS.External.MaxBytes / 4
}

// remakeConsumer drops the peer's consumer and makes it anew. Resetting the old one would be cheaper, but
// it keeps its queue of pull requests, and those of a connection that has died without a word would swallow
// what is meant for the new pull until the server notices.
func (s *source) remakeConsumer(ctx context.Context, stream jetstream.Stream, seq uint64, filter string) error {
	name := consumerName(s.peer)
	if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete the consumer of before: %w", err)
	}
	_, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: name, Description: "geogate peer " + s.peer,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: seq, FilterSubject: filter,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return fmt.Errorf("create the consumer: %w", err)
	}
	return nil
}
