package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"geogate/gateway/geopb"
)

// maxRenewals bounds the keepalives of one call to the leader.
const maxRenewals = 4096

// renewals gathers the keepalives of all streams of this node: while one call is with the leader, the next one
// fills. So the cost of a thousand clients is that of a few calls.
type renewals struct {
	mu      sync.Mutex
	waiting []*renewal // guarded by mu. Each stream has at most one call in it
	running bool       // guarded by mu
}

// renewal is one call to the leader. ttls and err may be read once done is closed.
type renewal struct {
	ids  []int64
	done chan struct{}
	ttls []int64
	err  error
}

// join adds ids to a call, and says where they stand in it. It calls start when nobody makes the calls.
func (r *renewals) join(ids []int64, start func()) (*renewal, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.waiting) - 1
	if last < 0 || len(r.waiting[last].ids)+len(ids) > maxRenewals {
		r.waiting = append(r.waiting, &renewal{done: make(chan struct{})})
		last++
	}
	call := r.waiting[last]
	from := len(call.ids)
	call.ids = append(call.ids, ids...)
	if !r.running {
		r.running = true
		start()
	}
	return call, from
}

// next takes the oldest call; nil ends the run.
func (r *renewals) next() *renewal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		r.running, r.waiting = false, nil
		return nil
	}
	call := r.waiting[0]
	r.waiting[0] = nil
	r.waiting = r.waiting[1:]
	return call
}

// runRenewals makes the calls one after the other until none waits.
func (s *Server) runRenewals() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	for call := s.renewals.next(); call != nil; call = s.renewals.next() {
		start := time.Now()
		call.ttls, call.err = s.renewAtLeader(ctx, call.ids, false)
		if call.err != nil {
			call.err = writeStatus(call.err)
		}
		s.metrics.observe(methodLeaseRenew, noPolicy, start, call.err)
		close(call.done)
	}
}

func (s *Server) renewAtLeader(ctx context.Context, ids []int64, forwarded bool) (ttls []int64, err error) {
	err = s.route(ctx, forwarded, func() (err error) {
		lctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		defer cancel()
		ttls, err = s.dc.LeaseRenew(lctx, ids)
		return err
	}, func(to *neighbor) (fate, error) {
		fctx, cancel := context.WithTimeout(s.forward.outgoing(ctx), s.cfg.RequestTimeout+time.Second)
		defer cancel()
		var trailer metadata.MD
		var reached peer.Peer
		resp, err := geopb.NewGeoClient(to).RenewLeases(fctx, &geopb.RenewLeasesRequest{Ids: ids}, grpc.Trailer(&trailer), grpc.Peer(&reached))
		ttls = resp.GetTtls()
		if err == nil && len(ttls) != len(ids) {
			return fateAnswered, fmt.Errorf("the leader answered %d of %d keepalives", len(ttls), len(ids))
		}
		f := fateOf(err, trailer, &reached)
		if f == fateUnknown {
			f = fateNotDone // a keepalive may always be repeated
		}
		return f, err
	})
	return ttls, err
}

// RenewLeases answers another node's gateway.
func (g geoServer) RenewLeases(ctx context.Context, req *geopb.RenewLeasesRequest) (*geopb.RenewLeasesResponse, error) {
	if len(req.Ids) > maxRenewals {
		return nil, statusOf(fmt.Errorf("%w: %d leases, the limit is %d", ErrMetadata, len(req.Ids), maxRenewals))
	}
	forwarded := isForwarded(ctx)
	if forwarded {
		g.markServed(ctx)
	}
	ttls, err := g.renewAtLeader(ctx, req.Ids, forwarded)
	if err != nil {
		return nil, writeStatus(err)
	}
	return &geopb.RenewLeasesResponse{Ttls: ttls}, nil
}
