//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

const (
	flowWithin   = 2 * time.Second // from the end of a fault of a link until data crosses every link
	noticeWithin = 5 * time.Second // from the beginning until the origin shows that the peer is not healthy
	healRounds   = 3
	linkHeld     = 5 * time.Second
	// commitsPerFlow is how often what flows waits for a disk: where it is written, and where it arrives behind
	// what had piled up.
	commitsPerFlow = 3
)

// healed is a row of a link that data does not cross for a while: that is noticed at the origin soon, and
// after it is over data crosses every link soon.
func healed(name, must string, again func(*cluster, *rand.Rand) fault) row {
	return row{name: name, must: must, play: func(ctx context.Context, s *stage) error {
		var beats pulse
		stop := beats.watch(ctx, s.c.dir)
		defer func() { _ = stop() }() // below, when all went well
		var slowest time.Duration
		var late, unnoticed []string
		for range healRounds {
			f := again(s.c, s.rnd)
			s.say("nemesis: %s", f.what)
			beats.reset()
			if err := f.begin(ctx); err != nil {
				return err
			}
			began := time.Now()
			if took := s.noticed(ctx, began); took > beats.allowed(noticeWithin) {
				unnoticed = append(unnoticed, fmt.Sprintf("%s: not noticed within %s; may be %s", f.what, took, beats.allowed(noticeWithin)))
			} else {
				s.say("noticed after %.2fs", took.Seconds())
			}
			pauseFor(ctx, linkHeld-time.Since(began))
			beats.reset()
			s.say("nemesis: end of %s", f.what)
			if err := f.end(); err != nil {
				return err
			}
			took, commit, where := s.flows(ctx)
			disk := beats.longestSync()
			may := beats.allowed(flowWithin) + commitsPerFlow*max(0, commit-disk)
			s.say("data crosses every link after %.2fs, %s last; a local write took up to %.2fs, a sync of the disk %.2fs; may be %.2fs",
				took.Seconds(), where, commit.Seconds(), disk.Seconds(), may.Seconds())
			if took > may {
				late = append(late, fmt.Sprintf("%s: %.2fs after the end no data had come %s; may be %.2fs", f.what, took.Seconds(), where, may.Seconds()))
			}
			slowest = max(slowest, took)
			if err := s.recover(ctx, f.what); err != nil {
				return err
			}
		}
		if err := stop(); err != nil {
			return err
		}
		s.slowest = max(s.slowest, slowest)
		s.v.check("a link that data does not cross is noticed", fmt.Sprintf("within %s, and more when the machine is late", noticeWithin), unnoticed)
		s.v.check("data flows again", fmt.Sprintf("%.2fs at most, may be %s, and more when the machine or its disk is late", slowest.Seconds(), flowWithin), late)
		return ctx.Err()
	}}
}

// noticed waits until some datacenter shows that another one is not healthy, and says how long after began.
func (s *stage) noticed(ctx context.Context, began time.Time) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, 3*noticeWithin)
	defer cancel()
	for ctx.Err() == nil {
		for _, dc := range s.c.dcs {
			st, err := s.c.status(ctx, s.c.leader(ctx, dc))
			if err != nil {
				continue
			}
			for _, p := range st.Peers {
				if p.Health == "suspected" || p.Health == "down" {
					s.say("%s holds %s for %s: %s", dc, p.DC, p.Health, p.Reason)
					return time.Since(began)
				}
			}
		}
		pauseFor(ctx, 20*time.Millisecond)
	}
	return time.Since(began)
}

// flows writes in every datacenter and waits until each other one has what was written; it says how long the
// slowest took, and what it was, and how long the slowest of the writes alone took. The wait is bounded.
func (s *stage) flows(ctx context.Context) (took, commit time.Duration, where string) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Recover)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, from := range s.c.dcs {
		text := fmt.Sprintf("%s%d", strings.Repeat(".", 1000), s.rnd.Uint64())
		key := "flow/" + from
		wg.Go(func() {
			for ctx.Err() == nil && !s.c.put(ctx, from, key, text) {
				pauseFor(ctx, failurePause)
			}
			mu.Lock()
			commit = max(commit, time.Since(began))
			mu.Unlock()
			for _, to := range s.c.dcs {
				if to == from {
					continue
				}
				wg.Go(func() {
					for ctx.Err() == nil && !s.c.has(ctx, to, key, text) {
						pauseFor(ctx, 10*time.Millisecond)
					}
					mu.Lock()
					defer mu.Unlock()
					if t := time.Since(began); t > took {
						took, where = t, "from "+from+" to "+to
					}
				})
			}
		})
	}
	wg.Wait()
	return took, commit, where
}

// has says whether a datacenter has a value.
func (c *cluster) has(ctx context.Context, dc, key, text string) bool {
	for _, n := range c.in(dc) {
		if got, _, _, err := c.conns[n].get(ctx, key, time.Second); err == nil {
			return got == text
		}
	}
	return false
}
