package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/gateway/geopb"
	"geogate/replication"
)

// A lease belongs to the datacenter that granted it. A key of a single-writer keyspace hangs on a lease of its home. So
// when a client elsewhere puts such a key with a lease of its own datacenter, the home grants one with the same id
// and TTL, and keepalives and the revocation go there too. Keepalives are answered with what is known to be left at
// every home: the client must not believe in a lease whose keys a home is about to delete.

// Calls about leases, and their headers.
const (
	callRenew  = "lease.v1/renew"
	callRevoke = "lease.v1/revoke"

	callLeases = "geogate-leases"     // id:TTL, comma separated: those that a write names, as the client's datacenter granted them
	callLeft   = "geogate-lease-left" // id:seconds:granted: what is left of them at the home; granted is 1 when the write brought it
)

// maxLeaseHomes bounds what is remembered of leases at homes. Beyond it, what is not kept alive is asked anew.
const maxLeaseHomes = 1 << 17

// renewPause follows a call about keepalives that failed.
const renewPause = 200 * time.Millisecond

// homeLeases is what this node, while it leads, knows of its datacenter's leases at the homes of keyspaces.
type homeLeases struct {
	mu    sync.Mutex
	term  uint64                    // guarded by mu, as all below: in which it was learnt
	known map[leaseAt]*leaseThere   // what is absent was never asked for
	tasks map[string]*homeKeepAlive // by home
}

type leaseAt struct {
	id   int64
	home string
}

// leaseThere is a lease at a home.
type leaseThere struct {
	held  bool      // it is there, or was
	lost  bool      // it was there and is no more
	until time.Time // held: it lives at least so long
	heard time.Time // when that was heard
}

// homeKeepAlive gathers the keepalives for one home: one call is under way at a time.
type homeKeepAlive struct {
	waiting map[int64]bool
	running bool
}

// homesElsewhere are the other datacenters that are the home of a keyspace now.
func (s *Server) homesElsewhere() (out []string) {
	if s.cfg.Homes == nil {
		return nil
	}
	s.keyspaces.each(func(prefix string, r rule) {
		if r.single == nil {
			return
		}
		if dc := s.cfg.Homes.Standing(prefix).Home.DC; dc != "" && dc != s.name && !slices.Contains(out, dc) {
			out = append(out, dc)
		}
	})
	return out
}

// lockLeases begins to use what is known of leases; it forgets what an earlier term of leadership knew.
func (s *Server) lockLeases() *homeLeases {
	h := &s.homeLeases
	h.mu.Lock()
	if term, _ := s.dc.Leading(); h.known == nil || h.term != term {
		h.term, h.known, h.tasks = term, map[leaseAt]*leaseThere{}, map[string]*homeKeepAlive{}
	}
	return h
}

// keepAliveElsewhere lowers the TTLs of leases that were just renewed here to what is left of them at the homes, and has
// them renewed there. It does not wait: what is left is as of the renewal before, and so a little less than
// necessary.
func (s *Server) keepAliveElsewhere(ids, ttls []int64) {
	for _, home := range s.homesElsewhere() {
		h := s.lockLeases()
		task := h.tasks[home]
		if task == nil {
			task = &homeKeepAlive{waiting: map[int64]bool{}}
			h.tasks[home] = task
		}
		for i, id := range ids {
			at := leaseAt{id, home}
			if ttls[i] <= 0 {
				delete(h.known, at)
				continue
			}
			there := h.known[at]
			if there == nil && len(s.cfg.Origins.Attached(home, id)) > 0 {
				// An earlier leader kept it alive, at most a third of the TTL ago if the client does as it should.
				there = &leaseThere{held: true, until: time.Now().Add(time.Duration(ttls[i]) * time.Second * 2 / 3)}
				h.known[at] = there
			}
			switch {
			case there == nil:
				task.waiting[id] = true
			case there.lost:
				ttls[i] = 0
			case there.held:
				task.waiting[id] = true
				left := time.Until(there.until)
				ttls[i] = max(0, min(ttls[i], int64(left/time.Second)))
			}
		}
		if len(task.waiting) > 0 && !task.running {
			task.running = true
			term := h.term
			s.receivers.Go(func() { s.renewElsewhere(home, term) })
		}
		h.trimLocked()
		h.mu.Unlock()
	}
}

func (h *homeLeases) trimLocked() {
	if len(h.known) <= maxLeaseHomes {
		return
	}
	now := time.Now()
	for at, there := range h.known {
		if !there.held || there.until.Before(now) {
			delete(h.known, at)
		}
	}
}

// renewElsewhere makes the calls to one home until no keepalive waits.
func (s *Server) renewElsewhere(home string, term uint64) {
	ctx, cancel := s.untilStopping()
	defer cancel()
	for {
		ids := s.takeRenewals(home, term)
		if len(ids) == 0 {
			return
		}
		sent := time.Now()
		ttls, err := s.askRenewals(ctx, home, ids)
		if err != nil {
			s.log.Debug("keepalives at the home of a keyspace failed", "home", home, "leases", len(ids), "error", err)
			sleep(ctx, nil, renewPause)
			continue
		}
		for _, id := range s.renewedElsewhere(home, term, ids, ttls, sent) {
			s.log.Warn("lease has ended at the home of its keys, and is revoked here", "lease", id, "home", home)
			if _, err := s.dc.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id}); err != nil {
				s.log.Debug("lease not revoked", "lease", id, "error", err)
			}
		}
	}
}

// takeRenewals takes what waits; when that is nothing, the run is over.
func (s *Server) takeRenewals(home string, term uint64) []int64 {
	h := s.lockLeases()
	defer h.mu.Unlock()
	task := h.tasks[home]
	if task == nil || h.term != term {
		return nil
	}
	ids := make([]int64, 0, min(len(task.waiting), maxRenewals))
	for id := range task.waiting {
		if len(ids) == maxRenewals {
			break
		}
		delete(task.waiting, id)
		ids = append(ids, id)
	}
	task.running = len(ids) > 0
	return ids
}

// renewedElsewhere records the answers of a home and returns the leases that have ended there.
func (s *Server) renewedElsewhere(home string, term uint64, ids, ttls []int64, sent time.Time) (lost []int64) {
	h := s.lockLeases()
	defer h.mu.Unlock()
	if h.term != term {
		return nil
	}
	for i, id := range ids {
		at := leaseAt{id, home}
		there := h.known[at]
		if there == nil {
			there = &leaseThere{}
			h.known[at] = there
		}
		switch {
		case ttls[i] > 0:
			there.held, there.until, there.heard = true, sent.Add(time.Duration(ttls[i])*time.Second), time.Now()
		case there.held && !there.lost && there.heard.Before(sent): // else a write has brought it meanwhile
			there.lost = true
			lost = append(lost, id)
		}
	}
	return lost
}

// untilStopping is a context that ends with the server.
func (s *Server) untilStopping() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// askRenewals makes one call.
func (s *Server) askRenewals(ctx context.Context, home string, ids []int64) ([]int64, error) {
	body, err := proto.Marshal(&geopb.RenewLeasesRequest{Ids: ids})
	if err != nil {
		return nil, err
	}
	reply, err := s.callHome(ctx, home, replication.Request{Method: callRenew, Body: body})
	if err != nil {
		return nil, err
	}
	var resp geopb.RenewLeasesResponse
	if err := proto.Unmarshal(reply.Body, &resp); err != nil || len(resp.Ttls) != len(ids) {
		return nil, fmt.Errorf("%s answered %d of %d keepalives (%w)", home, len(resp.Ttls), len(ids), err)
	}
	return resp.Ttls, nil
}

// callHome makes a call that may be repeated; an answer that is an error is one.
func (s *Server) callHome(ctx context.Context, home string, r replication.Request) (replication.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	reply, err := s.cfg.Homes.Call(ctx, home, r)
	if err == nil {
		err = replyStatus(&reply)
	}
	return reply, err
}

// leasesOf are the leases that a write names.
func leasesOf(req proto.Message) (ids []int64) {
	add := func(p *pb.PutRequest) {
		if p.Lease != 0 && !slices.Contains(ids, p.Lease) {
			ids = append(ids, p.Lease)
		}
	}
	switch r := req.(type) {
	case *pb.PutRequest:
		add(r)
	case *pb.TxnRequest:
		eachOp(r, func(op *pb.RequestOp) {
			if p := op.GetRequestPut(); p != nil {
				add(p)
			}
		})
	}
	return ids
}

// nameLeases says which leases the home must have before it makes a write. One that is not known here may still be
// known there.
func (s *Server) nameLeases(ctx context.Context, req proto.Message, header metadata.MD) error {
	var parts []string
	for _, id := range leasesOf(req) {
		l, err := s.dc.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id})
		if err != nil {
			return err
		}
		if l.TTL > 0 {
			parts = append(parts, fmt.Sprintf("%d:%d", id, l.GrantedTTL))
		}
	}
	if len(parts) > 0 {
		header[callLeases] = []string{strings.Join(parts, ",")}
	}
	return nil
}

// bringLeases grants, at the home, the leases that a write from another datacenter names, unless they are there.
func (s *Server) bringLeases(ctx context.Context, named string) error {
	if named == "" {
		return nil
	}
	var left []string
	for part := range strings.SplitSeq(named, ",") {
		n, err := parseNumbers(part, 2)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrMetadata, callLeases, err)
		}
		id, ttl := n[0], n[1]
		l, err := s.dc.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id})
		if err != nil {
			return err
		}
		granted := 0
		if l.TTL < 0 {
			_, err := s.dc.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: ttl})
			switch {
			case err == nil:
				granted = 1
			case !isLeaseExists(err): // else another write brought it just now
				return err
			}
			l.TTL = ttl
		}
		left = append(left, fmt.Sprintf("%d:%d:%d", id, max(l.TTL, 0), granted))
	}
	return grpc.SetTrailer(ctx, metadata.Pairs(callLeft, strings.Join(left, ",")))
}

// broughtLeases records what the home said of the leases that a write named.
func (s *Server) broughtLeases(home string, trailers metadata.MD, sent time.Time) {
	text := first(trailers[callLeft])
	delete(trailers, callLeft)
	if text == "" {
		return
	}
	h := s.lockLeases()
	defer h.mu.Unlock()
	for part := range strings.SplitSeq(text, ",") {
		n, err := parseNumbers(part, 3)
		if err != nil {
			continue // the leases are not known to be there then: they are asked for with the next keepalive
		}
		at := leaseAt{n[0], home}
		there := h.known[at]
		switch {
		case there == nil || !there.held:
			h.known[at] = &leaseThere{held: true, until: sent.Add(time.Duration(n[1]) * time.Second), heard: time.Now()}
		case n[2] == 1 && !there.lost && there.until.Before(sent): // it had ended there, with all keys that hung on it
			there.lost = true
		}
	}
}

// serveRenew renews leases for another datacenter's clients.
func (s *Server) serveRenew(ctx context.Context, body []byte) (proto.Message, error) {
	var req geopb.RenewLeasesRequest
	if err := proto.Unmarshal(body, &req); err != nil || len(req.Ids) > maxRenewals {
		return nil, fmt.Errorf("%w: keepalives of %d leases, the limit is %d (%w)", ErrMetadata, len(req.Ids), maxRenewals, err)
	}
	ttls, err := s.dc.LeaseRenew(ctx, req.Ids)
	return &geopb.RenewLeasesResponse{Ttls: ttls}, err
}

// serveRevoke ends a lease here. The client's user must be permitted to write its keys.
func (s *Server) serveRevoke(ctx context.Context, body []byte) (proto.Message, error) {
	var req pb.LeaseRevokeRequest
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	if err := s.authorizeLeases(ctx, ActionWrite, req.ID); err != nil {
		return nil, err
	}
	resp, err := s.dc.LeaseRevoke(ctx, &req)
	if err != nil {
		return nil, err
	}
	self := s.cfg.Origins.Life()
	return resp, grpc.SetTrailer(ctx, metadata.Pairs(callPoints, formatPoints([]point{{self, s.cfg.Origins.AppliedOf(self)}})))
}

// revokeElsewhere ends a lease at the homes of its keys, and waits until their deletes are applied here. found says
// that some home had it. When a home that has the lease can't be asked, nothing is revoked here either.
func (s *Server) revokeElsewhere(ctx context.Context, req *pb.LeaseRevokeRequest) (found bool, err error) {
	for _, home := range s.homesElsewhere() {
		h := s.lockLeases()
		there := h.known[leaseAt{req.ID, home}]
		absent := there != nil && !there.held
		held := there != nil && there.held && !there.lost
		h.mu.Unlock()
		held = held || len(s.cfg.Origins.Attached(home, req.ID)) > 0
		if absent && !held {
			continue
		}
		header := metadata.MD{}
		if err := s.setUser(ctx, header); err != nil {
			return found, err
		}
		body, err := proto.Marshal(req)
		if err != nil {
			return found, err
		}
		reply, err := s.callHome(ctx, home, replication.Request{Method: callRevoke, Header: header, Body: body})
		switch {
		case err == nil:
			found = true
			if points, err := parsePoints(first(reply.Header[callPoints])); err == nil {
				_ = s.awaitPoints(ctx, points) // the keys are deleted; here they go with the chain
			}
		case isLeaseNotFound(err):
		case retryable(err):
			return found, err
		case held:
			return found, &leaseElsewhereError{id: req.ID, home: home, cause: err}
		}
		h = s.lockLeases()
		delete(h.known, leaseAt{req.ID, home})
		h.mu.Unlock()
	}
	return found, nil
}

// leaseElsewhereError is the refusal of a revocation because a home can't be asked.
type leaseElsewhereError struct {
	id    int64
	home  string
	cause error
}

func (e *leaseElsewhereError) Error() string {
	return fmt.Sprintf("lease %016x is not revoked: keys of it are in a keyspace whose home %s did not answer (%v); try again, or let it end by itself",
		uint64(e.id), e.home, e.cause)
}

func (e *leaseElsewhereError) Unwrap() error { return e.cause }

func (e *leaseElsewhereError) status() error {
	return withInfo(codes.Unavailable, e.Error(), reasonNoHome, map[string]string{infoHome: e.home})
}

// keysOf are the keys of a lease, in keyspaces of other homes too, as they are here.
func (s *Server) keysOf(id int64) [][]byte {
	keys := slices.Clip(s.dc.LeaseKeys(id))
	for _, home := range s.homesElsewhere() {
		keys = append(keys, s.cfg.Origins.Attached(home, id)...)
	}
	return keys
}

// revokeLease ends a lease at the homes, then here.
func (s *Server) revokeLease(ctx context.Context, req *pb.LeaseRevokeRequest, local func() (*pb.LeaseRevokeResponse, error)) (*pb.LeaseRevokeResponse, error) {
	found, err := s.revokeElsewhere(ctx, req)
	if err != nil {
		return nil, err
	}
	resp, err := local()
	if found && isLeaseNotFound(err) {
		return &pb.LeaseRevokeResponse{Header: s.header(s.dc.Revision())}, nil
	}
	return resp, err
}

// leaseTimeToLive adds to what is known of a lease here what is known of it at the homes.
func (s *Server) leaseTimeToLive(_ context.Context, req *pb.LeaseTimeToLiveRequest, local func() (*pb.LeaseTimeToLiveResponse, error)) (*pb.LeaseTimeToLiveResponse, error) {
	resp, err := local()
	if err != nil || resp.TTL < 0 {
		return resp, err
	}
	if req.Keys {
		resp.Keys = s.keysOf(req.ID)
	}
	for _, home := range s.homesElsewhere() {
		h := s.lockLeases()
		if there := h.known[leaseAt{resp.ID, home}]; there != nil && there.held && resp.TTL > 0 {
			resp.TTL = max(0, min(resp.TTL, int64(time.Until(there.until)/time.Second)))
		}
		h.mu.Unlock()
	}
	return resp, nil
}

// parseNumbers reads n numbers with colons between them.
func parseNumbers(text string, n int) ([]int64, error) {
	parts := strings.Split(text, ":")
	if len(parts) != n {
		return nil, fmt.Errorf("%q has %d parts, want %d", text, len(parts), n)
	}
	out := make([]int64, n)
	for i, p := range parts {
		v, err := strconv.ParseInt(p, 10, 64)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func isLeaseExists(err error) bool { return errors.Is(err, dc.ErrLeaseExists) }

// isLeaseNotFound knows the answer of another datacenter, too.
func isLeaseNotFound(err error) bool {
	return errors.Is(err, dc.ErrLeaseNotFound) || rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(rpctypes.ErrGRPCLeaseNotFound)
}
