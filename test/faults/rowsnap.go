//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"geogate/configs"
	"geogate/test/faults/check"
)

// What the log says when a snapshot begins and when all of it is merged.
const (
	snapshotBegins = "a snapshot is taken"
	snapshotMerged = "snapshot merged"
)

var errNotMet = errors.New("the row did not come to what it is for")

// awayRow keeps datacenters away past retention, while others are killed at the moment they come back.
func awayRow() row {
	r := row{name: "away", must: "frames don't lead back to a datacenter: its snapshot is merged, and the ones it wrote meanwhile"}
	r.play = func(ctx context.Context, s *stage) error {
		for i, other := range []func(*cluster, *rand.Rand) fault{nil, killNode, cutLink} {
			before := 0
			for _, dc := range s.c.dcs {
				before += s.c.logged(dc, snapshotMerged)
			}
			f := away(s.c, s.rnd)
			if err := s.hold(ctx, time.Second, f); err != nil {
				return err
			}
			if other != nil {
				if err := s.hold(ctx, 2*time.Second, other(s.c, s.rnd)); err != nil {
					return err
				}
			}
			if err := s.recover(ctx, f.what); err != nil {
				return err
			}
			if problems := s.c.converged(ctx, s.cfg.Recover); problems != "" {
				s.problems = append(s.problems, fmt.Sprintf("round %d: %s", i, problems))
			}
			after := 0
			for _, dc := range s.c.dcs {
				after += s.c.logged(dc, snapshotMerged)
			}
			if after == before {
				return fmt.Errorf("%w: no snapshot was merged in round %d", errNotMet, i)
			}
			s.say("%d snapshots merged", after-before)
		}
		return nil
	}
	return r
}

// converged waits, under load, until nobody needs a snapshot, and returns who still does.
func (c *cluster) converged(ctx context.Context, within time.Duration) (problem string) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for problem = "nobody asked"; problem != "" && ctx.Err() == nil; pauseFor(ctx, 50*time.Millisecond) {
		problem = ""
		for _, dc := range c.living() {
			st, err := c.status(ctx, c.leader(ctx, dc))
			if err != nil {
				problem = err.Error()
			}
			for _, p := range st.Peers {
				if p.NeedsSnapshot != "" || p.Receiver.State == "merging" {
					problem = fmt.Sprintf("%s says of %s: needs a snapshot (%s), %s", dc, p.DC, p.NeedsSnapshot, p.Receiver.State)
				}
			}
		}
	}
	return problem
}

const (
	bulkKeys  = 1000
	bulkBytes = 4096
)

// snapLeaderRow changes the leaders of both sides of a snapshot while it is merged.
func snapLeaderRow() row {
	return row{
		name: "snap-leader-change", must: "a snapshot is merged although leaders on both sides are killed while it is",
		nodes: []int{3, 3, 1},
		edit:  func(t *configs.Topology) { t.Limits.SnapshotRate = 1 << 20 },
		play:  playSnapLeader,
	}
}

func playSnapLeader(ctx context.Context, s *stage) error {
	from, to := s.c.dcs[0], s.c.dcs[1]
	if err := s.l.bulk(ctx, from, "bulk", bulkKeys); err != nil {
		return err
	}
	f := onLinks(s.c, to+" and all others", cutConditions, around(s.c, to)...)
	s.say("nemesis: %s", f.what)
	if err := f.begin(ctx); err != nil {
		return err
	}
	// What it lacks is large, so that the snapshot takes a while at the rate that is set.
	if err := s.l.bulk(ctx, from, "tail", bulkKeys); err != nil {
		return err
	}
	actx, cancel := context.WithTimeout(ctx, awayWithin)
	ok := s.c.passRetention(actx, to, s.rnd)
	cancel()
	if !ok {
		return fmt.Errorf("%w: %s needs no snapshot after %s", errNotMet, to, awayWithin)
	}
	merged := s.c.logged(to, snapshotMerged)
	if err := f.end(); err != nil {
		return err
	}
	began := time.Now()
	for i, dc := range []string{to, from, to, from} {
		if err := s.merging(ctx, to); err != nil {
			return err
		}
		if i > 0 && s.c.logged(to, snapshotMerged) > merged {
			return fmt.Errorf("%w: a snapshot was merged before leader %d was killed", errNotMet, i)
		}
		kill := onNodes("kill -9 of the leader of "+dc+" in the middle of a snapshot", leaderOf(s.c, dc), (*node).kill, (*node).start)
		if err := s.hold(ctx, 500*time.Millisecond, kill); err != nil {
			return err
		}
	}
	if err := s.recover(ctx, "leaders killed in the middle of a snapshot"); err != nil {
		return err
	}
	if problem := s.c.converged(ctx, s.cfg.Recover); problem != "" {
		s.problems = append(s.problems, problem)
	}
	s.slowest = max(s.slowest, time.Since(began))
	s.say("merged %.1fs after the link healed; %d snapshots begun, %d merged", time.Since(began).Seconds(),
		s.c.logged(to, snapshotBegins), s.c.logged(to, snapshotMerged)-merged)
	return nil
}

// merging waits until a datacenter merges a snapshot and has a leader who says so.
func (s *stage) merging(ctx context.Context, dc string) error {
	ctx, cancel := context.WithTimeout(ctx, awayWithin)
	defer cancel()
	for ctx.Err() == nil {
		if st, err := s.c.status(ctx, s.c.leader(ctx, dc)); err == nil {
			for _, p := range st.Peers {
				if p.Receiver.State == "merging" {
					pauseFor(ctx, time.Second) // into the middle
					return nil
				}
			}
		}
		pauseFor(ctx, 20*time.Millisecond)
	}
	return fmt.Errorf("%w: %s merges no snapshot", errNotMet, dc)
}

// bulk writes keys of a datacenter that are looked for afterwards as the load's are.
func (l *load) bulk(ctx context.Context, dc, name string, n int) error {
	const writers = 8
	var wg sync.WaitGroup
	for w := range writers {
		rnd := newRand(l.seed, name+dc, uint64(w))
		wg.Go(func() {
			for i := w; i < n && ctx.Err() == nil; i += writers {
				put := check.Write{DC: dc, Policy: "ASYNC", Key: fmt.Sprintf("%s%s/%s-%d/%06d", writesPrefix, dc, name, w, i), Value: fill(rnd, bulkBytes)}
				_, err := l.c.conns[pick(rnd, l.c.in(dc))].put(ctx, put.Key, put.Value, put.Policy)
				put.Outcome = outcome(err)
				l.mu.Lock()
				l.writes = append(l.writes, put)
				l.mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// joinRow lets two datacenters live alone, with data of their own, before they are told of each other and of
// a third one, which is new.
func joinRow() row {
	return row{
		name: "join-alone", must: "datacenters that ran alone become equal by snapshots, with the data of both",
		prepare: prepareJoin,
		play: func(ctx context.Context, s *stage) error {
			if problem := s.c.converged(ctx, s.cfg.Recover); problem != "" {
				s.problems = append(s.problems, problem)
			}
			for _, dc := range s.c.dcs {
				if s.c.logged(dc, snapshotMerged) == 0 {
					return fmt.Errorf("%w: %s merged no snapshot", errNotMet, dc)
				}
			}
			pauseFor(ctx, 3*time.Second)
			return ctx.Err()
		},
	}
}

func prepareJoin(ctx context.Context, s *stage) error {
	single := []string{s.c.dcs[0], s.c.dcs[2]}
	for i, dc := range s.c.dcs {
		if i == 1 {
			continue
		}
		t := *s.c.topology
		t.Datacenters = t.Datacenters[i : i+1]
		if err := s.c.write("alone-"+dc+".yaml", &t); err != nil {
			return err
		}
		for _, n := range s.c.in(dc) {
			n.configure(s.c.file("alone-" + dc + ".yaml"))
			if err := n.start(); err != nil {
				return err
			}
		}
	}
	for _, dc := range single {
		wctx, cancel := context.WithTimeout(ctx, s.cfg.Recover)
		for wctx.Err() == nil && !s.c.put(wctx, dc, "contended/00", dc) {
			pauseFor(wctx, failurePause)
		}
		cancel()
		if err := s.l.bulk(ctx, dc, "alone", 1000); err != nil {
			return err
		}
		for i := range contendedKeys { // some exist in both, some in one, some are deleted in one
			s.c.put(ctx, dc, fmt.Sprintf("%s%02d", contendedPrefix, i), dc)
		}
		if err := s.c.remove(ctx, dc, fmt.Sprintf("%s%02d", contendedPrefix, 1)); err != nil {
			return err
		}
		s.say("%s ran alone, with %d writes", dc, 1000+contendedKeys)
	}
	for _, n := range s.c.nodes {
		n.finish(syscall.SIGTERM)
		n.configure(s.c.file(wholeTopology))
	}
	return s.startAll(ctx, s)
}
