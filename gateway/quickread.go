package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// quickRead is a range of a single key that is answered without a goroutine of its own.
type quickRead struct {
	call  quickCall
	req   *pb.RangeRequest
	start time.Time
}

// rangeNow begins to answer a range.
func (s *Server) rangeNow(c quickCall) {
	req := &pb.RangeRequest{}
	if err := proto.Unmarshal(c.Request(), req); err != nil {
		c.Fail(undecodable(err), nil)
		return
	}
	if len(req.RangeEnd) > 0 || len(c.Metadata()) > 0 || s.keyspaces.anySingle && !req.Serializable {
		c.spawn()
		return
	}
	r := &quickRead{call: c, req: req, start: time.Now()}
	switch err := checkRange(req); {
	case err != nil:
		s.answerRange(r, nil, err)
	case req.Serializable:
		s.readNow(context.Background(), r)
	default:
		s.looks.put(r)
	}
}

// readNow answers from what is applied here.
func (s *Server) readNow(ctx context.Context, r *quickRead) {
	resp, err := s.dc.Range(ctx, serializable(r.req))
	s.answerRange(r, resp, err)
}

func (s *Server) answerRange(r *quickRead, resp *pb.RangeResponse, err error) {
	if err == nil && s.users() != nil {
		r.call.spawn() // authentication was enabled this moment
		return
	}
	if err != nil {
		err = readStatus(err)
	} else {
		s.fill(resp.GetHeader())
	}
	s.metrics.observe(methodRange, noPolicy, r.start, err)
	s.metrics.read(reading{}, r.req.Serializable, err)
	if err != nil {
		r.call.Fail(err, nil)
		return
	}
	r.call.reply(resp, nil)
}

// look answers linearizable reads, once this node has applied all that was committed before it was called.
func (s *Server) look(ask func() []*quickRead, asked func()) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.RequestTimeout)
	defer cancel()
	reads := ask()
	err := s.dc.Linearize(ctx)
	asked()
	if errors.Is(err, context.DeadlineExceeded) {
		err = rpctypes.ErrGRPCTimeout
	}
	for _, r := range reads {
		if err != nil {
			s.answerRange(r, nil, err)
			continue
		}
		s.readNow(ctx, r)
	}
}

// looks gathers linearizable reads: those that come while the datacenter is asked how far it is share the next question.
type looks struct {
	look func(ask func() []*quickRead, asked func())

	mu      sync.Mutex
	waiting []*quickRead // guarded by mu
	asking  bool         // guarded by mu
}

func (l *looks) put(r *quickRead) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, r)
	if !l.asking {
		l.asking = true
		go l.look(l.ask, l.asked)
	}
}

// ask takes the reads that the next answer is for.
func (l *looks) ask() []*quickRead {
	l.mu.Lock()
	defer l.mu.Unlock()
	reads := l.waiting
	l.waiting = nil
	return reads
}

// asked begins the next question, if there are reads for it.
func (l *looks) asked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking = len(l.waiting) > 0; l.asking {
		go l.look(l.ask, l.asked)
	}
}
