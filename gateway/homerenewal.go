package gateway

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/gateway/geopb"
	"geogate/replication"
)

// renewPause follows a call about keepalives that failed.
const renewPause = 200 * time.Millisecond

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
