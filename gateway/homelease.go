package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

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
