package gateway

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"geogate/dc"
	"geogate/replication/policy"
)

// foreignPause is how often the vectors of the others are looked at again: nobody waits for the acks of
// another datacenter's writes, so nothing wakes this wait.
const foreignPause = 20 * time.Millisecond

// setReplayed tells the client that its request was known.
func setReplayed(ctx context.Context, made dc.Commit) {
	md := metadata.Pairs(trailerReplayed, "true")
	if made.Reduced {
		md.Set(trailerReduced, "true")
	}
	_ = grpc.SetTrailer(ctx, md) // fails only outside of a call
}

// settleForeign is settle for a request that another datacenter committed first and that arrived here since.
// It is committed there and here; which of the others have it, their vectors tell.
func (s *Server) settleForeign(ctx context.Context, made dc.Commit, r rule) error {
	token := policy.Token{Origin: made.Origin, Revision: made.Revision}
	start := time.Now()
	names, err := s.awaitForeign(ctx, token, r)
	receipt := policy.Receipt{Token: token, Policy: r.asked, AckedBy: names}
	if r.policy != policy.Async {
		receipt.Elapsed = time.Since(start)
		s.metrics.policyWait[r.policy].Observe(receipt.Elapsed.Seconds())
	}
	setReceipt(ctx, receipt, true)
	if err == nil {
		return nil
	}
	return s.notMet(ctx, receipt, r, err)
}

// awaitForeign waits until the datacenters that are known to have a write of another one meet the policy. It
// ends early when this node ceases to lead: a repetition of the request then finds the node that does.
func (s *Server) awaitForeign(ctx context.Context, t policy.Token, r rule) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	for {
		names := acked(s.name, []string{t.Origin})
		for name, vector := range s.replication.Matrix() {
			if vector[t.Origin] >= t.Revision {
				names = acked(s.name, append(names, name))
			}
		}
		slices.Sort(names[2:])
		if r.policy == policy.Async {
			return names, nil
		}
		peers := s.dataPeers()
		if peers == nil {
			return names, ErrNoLeader
		}
		if r.policy.Met(len(peers)+1, len(names)) {
			return names, nil
		}
		if !sleep(ctx, nil, foreignPause) {
			return names, ctx.Err()
		}
	}
}
