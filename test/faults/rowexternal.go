//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

const (
	externalUp    = time.Second // so that the stream holds something of this round
	externalDown  = 2 * time.Second
	externalFlow  = 5 * time.Second  // from the start of a nats-server that stands alone until data crosses every link
	clusterFlow   = 15 * time.Second // the same of three, which elect leaders first: NATS gives each vote 4 to 9 s
	externalTimes = 2                // of each
)

// externalRow has the first datacenter use nats-servers that stand beside its nodes. They are killed and started
// again, with their store and without it.
func externalRow(name string, servers int, within time.Duration) row {
	return row{
		name: name, nats: servers,
		must: fmt.Sprintf("the store of the external nats-server goes, or only its process: data flows %s after it is back, without a snapshot", within),
		prepare: func(ctx context.Context, s *stage) error {
			if err := s.startNATS(ctx); err != nil {
				return err
			}
			return s.startAll(ctx, s)
		},
		play: func(ctx context.Context, s *stage) error {
			var beats pulse
			pctx, stop := context.WithCancel(ctx)
			defer stop()
			go beats.run(pctx)
			w := wrecked{s: s, beats: &beats, within: within}
			one := s.c.nats[s.rnd.IntN(servers):][:1]
			for range externalTimes {
				for _, wiped := range []bool{false, true} {
					if servers > 1 {
						if err := w.round(ctx, one, wiped); err != nil {
							return err
						}
					}
					if err := w.round(ctx, s.c.nats, wiped); err != nil {
						return err
					}
				}
			}
			return w.judge()
		},
	}
}

// wrecked is what came of nats-servers that were killed.
type wrecked struct {
	s       *stage
	beats   *pulse
	within  time.Duration
	slowest time.Duration
	late    []string
}

// round kills servers, and starts them again.
func (w *wrecked) round(ctx context.Context, servers []*node, wiped bool) error {
	what := fmt.Sprintf("kill -9 of %v", servers)
	if wiped {
		what += ", store removed"
	}
	pauseFor(ctx, externalUp)
	w.s.say("nemesis: %s", what)
	for _, n := range servers {
		n.kill()
		if _, err := os.Stat(n.spec.Dir); err != nil {
			return fmt.Errorf("%w: %s has no store: %w", errNotMet, n, err)
		}
		if wiped {
			if err := wipe(n); err != nil {
				return err
			}
		}
	}
	pauseFor(ctx, externalDown)
	w.beats.reset()
	w.s.say("nemesis: end of %s", what)
	for _, n := range servers {
		if err := n.start(); err != nil {
			return err
		}
	}
	took, commit, where := w.s.flows(ctx)
	may := w.beats.allowed(w.within) + commitsPerFlow*commit
	w.s.say("data crosses every link after %.2fs, %s last; a local write took up to %.2fs; may be %.2fs", took.Seconds(), where, commit.Seconds(), may.Seconds())
	if took > may {
		w.late = append(w.late, fmt.Sprintf("%s: %.2fs after the start no data had come %s; may be %.2fs", what, took.Seconds(), where, may.Seconds()))
	}
	w.slowest = max(w.slowest, took)
	return w.s.recover(ctx, what)
}

func (w *wrecked) judge() error {
	s := w.s
	s.slowest = max(s.slowest, w.slowest)
	s.v.check("data flows again", fmt.Sprintf("%.2fs at most, may be %s, and more when the machine or its disk is late", w.slowest.Seconds(), w.within), w.late)
	var snapshots, ended []string
	for _, dc := range s.c.dcs {
		if n := s.c.logged(dc, snapshotBegins); n > 0 {
			snapshots = append(snapshots, fmt.Sprintf("%s began %d", dc, n))
		}
	}
	for _, n := range s.c.nats {
		ended = append(ended, n.unexpected()...)
	}
	s.v.check("no snapshot was needed", "what the stream lost comes from the chain", snapshots)
	s.v.check("no nats-server ended by itself", fmt.Sprintf("%d servers", len(s.c.nats)), ended)
	return nil
}
