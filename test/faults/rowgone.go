//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"geogate/configs"
	"geogate/test/faults/check"
)

// What peer-gone holds geogate to. All of it is printed with the figures.
const (
	goneRetention  = 32 << 20
	gonePublish    = 1 << 20
	goneOutbox     = 4 * (gonePublish + 2*16<<20) // the least that is taken
	memoryGrowth   = 0.10                         // of the mean, from the moment the bound is reached to the end
	memorySlack    = 24 << 20                     // or this, where it is more
	diskFactor     = 2                            // pages of bbolt for each retained byte: a transaction copies what it changes
	diskSlack      = 128 << 20                    // write-ahead log, free pages
	latencyFactor  = 2
	latencySlack   = 5 * time.Millisecond
	goneWarmUp     = 10 * time.Second
	settleAfter    = 5 * time.Second // from the moment the bound is reached until memory is judged
	goneChains     = 3               // one for each datacenter
	undisturbedOf4 = 1               // quarters of the time that was asked for
	goneOf4        = 3
)

// goneRow keeps a datacenter down under all the load that the others take, far past what they keep for it.
func goneRow() row {
	return row{
		name: "peer-gone", timed: true,
		must: "a peer that is gone costs bounded memory and disk and slows no ASYNC write; it comes back under load",
		edit: func(t *configs.Topology) {
			t.Limits.RetentionBytes = goneRetention
			t.Limits.PublishWindowBytes = gonePublish
			t.Limits.OutboxBytes = goneOutbox
		},
		alone: playGone,
	}
}

func playGone(ctx context.Context, s *stage) error {
	gone := s.c.dcs[len(s.c.dcs)-1]
	h := newHammer(s.c, s.cfg.Seed, s.c.dcs[:len(s.c.dcs)-1])
	hctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.run(hctx)
	}()
	defer func() { stop(); <-done }()
	quarter := time.Duration(s.cfg.Seconds) * time.Second / 4

	s.say("full ASYNC load in %v; %s warms up", h.dcs, goneWarmUp)
	pauseFor(ctx, goneWarmUp)
	h.phase("undisturbed")
	pauseFor(ctx, undisturbedOf4*quarter)
	s.say("%s is gone", gone)
	h.phase("gone, filling up")
	for _, n := range s.c.in(gone) {
		n.kill()
	}
	left := time.Now().Add(goneOf4 * quarter)
	reached, err := s.waitBound(ctx, h.dcs, gone, left)
	if err != nil {
		return err
	}
	s.say("every datacenter has dropped frames that %s lacks, after %.1fs", gone, reached.Seconds())
	pauseFor(ctx, settleAfter)
	h.phase("gone, bound reached")
	pauseFor(ctx, time.Until(left))
	s.say("%s comes back", gone)
	h.phase("coming back")
	began := time.Now()
	if err := s.startAll(ctx, s); err != nil {
		return err
	}
	back := s.c.caughtUp(ctx, gone, 4*s.cfg.Recover)
	s.slowest = time.Since(began)
	s.say("%s has caught up under load after %.1fs %s", gone, s.slowest.Seconds(), back)
	h.phase("back")
	pauseFor(ctx, quarter/2)
	stop()
	<-done
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.judgeGone(ctx, h, gone, back)
}

// waitBound waits until every datacenter of dcs has dropped frames that gone has not confirmed.
func (s *stage) waitBound(ctx context.Context, dcs []string, gone string, until time.Time) (time.Duration, error) {
	began := time.Now()
	for ctx.Err() == nil && time.Now().Before(until) {
		all := true
		for _, dc := range dcs {
			st, err := s.c.status(ctx, s.c.leader(ctx, dc))
			all = all && err == nil
			for _, p := range st.Peers {
				all = all && (p.DC != gone || p.NeedsSnapshot != "")
			}
		}
		if all {
			return time.Since(began), nil
		}
		pauseFor(ctx, 100*time.Millisecond)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 0, fmt.Errorf("%w: %s was gone for %s and the bound was not reached; ask for more --seconds", errNotMet, gone, time.Since(began))
}

// caughtUp waits until a datacenter is less than a second behind all others, which hold it for healthy, and
// says what is not so.
func (c *cluster) caughtUp(ctx context.Context, dc string, within time.Duration) (problem string) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for problem = "nobody asked"; problem != "" && ctx.Err() == nil; pauseFor(ctx, 50*time.Millisecond) {
		problem = ""
		for _, d := range c.holding() {
			st, err := c.status(ctx, c.leader(ctx, d))
			if err != nil {
				problem = err.Error()
			}
			for _, p := range st.Peers {
				if p.DC != dc {
					continue
				}
				if p.NeedsSnapshot != "" || p.Health != "healthy" || p.LagSeconds == nil || *p.LagSeconds > 1 {
					problem = fmt.Sprintf("%s says of %s: %+v", d, dc, p)
				}
			}
		}
	}
	return problem
}

// judgeGone prints the figures and holds them against the bounds.
func (s *stage) judgeGone(ctx context.Context, h *hammer, gone, back string) error {
	for _, line := range h.table() {
		s.say("%s", line)
	}
	var growing, large, stream []string
	diskMay := func(n *node) uint64 {
		return h.most("undisturbed", n).data + diskFactor*goneChains*goneRetention + diskSlack
	}
	for _, n := range s.c.nodes {
		if n.dc != gone {
			growing = append(growing, check.Flat(n.String(), h.memory("gone, bound reached", n), memoryGrowth, memorySlack)...)
		}
		for _, p := range h.phases {
			most := h.most(p.name, n)
			if most.data > diskMay(n) {
				large = append(large, fmt.Sprintf("%s, %s: %d MiB of data, may be %d", n, p.name, most.data>>20, diskMay(n)>>20))
			}
			if most.stream > goneOutbox+goneOutbox/4 {
				stream = append(stream, fmt.Sprintf("%s, %s: %d MiB of stream, may be %d", n, p.name, most.stream>>20, (goneOutbox+goneOutbox/4)>>20))
			}
		}
	}
	s.v.check("memory is flat", fmt.Sprintf("grows by at most %g %% or %d MiB while the peer is gone and the bound is reached", 100*memoryGrowth, memorySlack>>20), growing)
	s.v.check("disk is bounded", fmt.Sprintf("the most undisturbed, %d times %d chains of %d MiB, and %d MiB", diskFactor, goneChains, goneRetention>>20, diskSlack>>20), large)
	s.v.check("the stream is bounded", fmt.Sprintf("%d MiB and a quarter", goneOutbox>>20), stream)
	calm, rough := h.latency("undisturbed", 0.99), h.latency("gone, bound reached", 0.99)
	var late []string
	if may := latencyFactor*calm + latencySlack; rough > may {
		late = append(late, fmt.Sprintf("p99 %s with a peer gone, %s undisturbed, may be %s", rough, calm, may))
	}
	s.v.check("ASYNC p99", fmt.Sprintf("%s with a peer gone, %s undisturbed; may be twice that and %s", rough, calm, latencySlack), late)
	var lost []string
	if back != "" {
		lost = []string{back}
	}
	s.v.check("the peer comes back under load", fmt.Sprintf("%.1fs, may be %s", s.slowest.Seconds(), 4*s.cfg.Recover), lost)
	var snapshots []string
	if s.c.logged(gone, snapshotMerged) == 0 {
		snapshots = []string{"it merged none"}
	}
	s.v.check("it came back by snapshots", fmt.Sprintf("%d merged", s.c.logged(gone, snapshotMerged)), snapshots)
	s.v.check("no ASYNC write failed", fmt.Sprintf("%d acknowledged", h.acked()), h.failures())
	began := time.Now()
	problems := s.c.converge(ctx, s.cfg.Converge)
	s.v.check("convergence", fmt.Sprintf("%.1fs after the load, may be %s", time.Since(began).Seconds(), s.cfg.Converge), problems)
	data := map[string]map[string]string{}
	for _, dc := range s.c.dcs {
		client, err := s.c.client(s.c.in(dc)...)
		if err != nil {
			return err
		}
		have, err := read(ctx, client)
		_ = client.Close() // nothing is under way
		if err != nil {
			return fmt.Errorf("read all of %s: %w", dc, err)
		}
		data[dc] = have.values
	}
	last := h.last()
	s.v.check("the last write of each key", fmt.Sprintf("%d keys", len(last)), check.Writes(last, data))
	s.v.acked, s.v.slowest = h.acked(), s.slowest
	return s.c.judgeNodes(s.v, s.cfg)
}
