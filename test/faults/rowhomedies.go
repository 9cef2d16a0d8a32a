//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/test/faults/check"
)

// homeOpens is the time from when a home is held to be down until another one takes writes.
const homeOpens = 10 * time.Second

// homeDiesRow kills the home under load.
func homeDiesRow() row {
	return homeRow("home-dies", fmt.Sprintf("another datacenter takes writes within %s, with all that was acknowledged; the old home returns without a full copy, its tail set aside", homeOpens),
		true, playDies)
}

func playDies(ctx context.Context, s *stage, h *homeLoad) error {
	old, others := s.c.dcs[0], slices.DeleteFunc(s.c.holding(), func(dc string) bool { return dc == s.c.dcs[0] })
	p := &pulse{}
	stop := p.watch(ctx, s.c.dir)
	if err := h.waitAcks(ctx, 100, homeSettle, s.c.holding()...); err != nil {
		return err
	}
	// The network goes some moments before the machines: what they commit then, nobody else has.
	alone := time.Duration(50+s.rnd.IntN(400)) * time.Millisecond
	s.c.set(cutConditions, around(s.c, old)...)
	pauseFor(ctx, alone)
	killed := time.Now()
	s.c.killAll(old)
	s.say("kill -9 of all of %s, %s after its links", old, alone)
	next, epoch, err := s.c.waitAnyHome(ctx, 1, 2*s.cfg.Recover, others...)
	if err != nil {
		return err
	}
	s.show(ctx, next)
	if err := h.waitAcks(ctx, 50, homeSettle, others...); err != nil {
		return err
	}
	s.opening(h, next, epoch, killed, p)
	if err := stop(); err != nil {
		return err
	}
	if err := s.returns(ctx, h, old, next); err != nil {
		return err
	}
	return h.waitAcks(ctx, 20, homeSettle, s.c.holding()...)
}

// opening prints how the failover went by the log of who did it, and holds it against the bound.
func (s *stage) opening(h *homeLoad, next string, epoch uint64, killed time.Time, p *pulse) {
	down, _ := s.c.logLine(next, killed, "the home of a keyspace is down")
	begins, _ := s.c.logLine(next, killed, "automatic failover begins")
	decided, _ := s.c.logLine(next, killed, "home of a keyspace has moved")
	open, _ := s.c.logLine(next, killed, "standing of a keyspace", "open=true")
	first := h.first("", open)
	since := func(t time.Time) float64 { return t.Sub(down).Seconds() }
	if down.IsZero() || open.IsZero() || first.IsZero() {
		s.v.check("another home opens", next, []string{fmt.Sprintf("its log lacks a part: down %v, begins %v, decided %v, open %v, first write %v", down, begins, decided, open, first)})
		return
	}
	s.say("detect: held to be down %.2fs after the kill; then failover begins after %.2fs, decided after %.2fs, open after %.2fs, first write acknowledged after %.2fs",
		down.Sub(killed).Seconds(), since(begins), since(decided), since(open), since(first))
	s.slowest = first.Sub(killed)
	may := p.allowed(homeOpens)
	s.need("another home opens", fmt.Sprintf("%s in epoch %d, %.2fs after the old one was held to be down, %.2fs after the kill; may be %s", next, epoch, since(first), first.Sub(killed).Seconds(), homeOpens),
		first.Sub(down) <= may, fmt.Sprintf("took %.2fs, may be %.2fs", since(first), may.Seconds()))
}

// returns starts a dead home: first by itself, to see what it has that nobody else has, then with its links.
func (s *stage) returns(ctx context.Context, h *homeLoad, old, next string) error {
	copies := s.counted(ctx)
	if err := s.startAll(ctx, s); err != nil {
		return err
	}
	had, err := s.alone(ctx, old)
	if err != nil {
		return err
	}
	s.show(ctx, old)
	began := time.Now()
	s.c.heal(around(s.c, old)...)
	s.say("%s is back", old)
	fenced := time.Time{}
	deadline := began.Add(s.cfg.Recover)
	for problem := "nobody asked"; problem != ""; pauseFor(ctx, 50*time.Millisecond) {
		st, err := s.c.homeAt(ctx, old)
		switch {
		case err != nil:
			problem = err.Error()
		case st.Home != next:
			problem = fmt.Sprintf("%s says that the home is %s: %s", old, st.Home, st.Why)
		default:
			problem = s.c.caughtUp(ctx, old, time.Second)
			if fenced.IsZero() {
				fenced = time.Now()
				s.show(ctx, old)
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%w: %s after it was back: %s", errNotMet, time.Since(began), problem)
		}
	}
	s.say("%s knows the new home after %.2fs and has caught up after %.2fs", old, fenced.Sub(began).Seconds(), time.Since(began).Seconds())
	now := s.counted(ctx)
	s.need("no full copy", fmt.Sprintf("%d snapshots merged", now-copies), now == copies, "the old home, or another datacenter, merged a snapshot")
	return s.judgeAside(ctx, h, old, next, had)
}

// alone waits until a datacenter that nobody reaches has a leader, and reads what it has.
func (s *stage) alone(ctx context.Context, dc string) (map[string]string, error) {
	deadline := time.Now().Add(s.cfg.Recover)
	for {
		var st nodeStatus
		n := s.c.leader(ctx, dc)
		st, err := s.c.status(ctx, n)
		if err == nil && st.Leader == n.spec.Name {
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %s has no leader %s after it was started: %v", errNotMet, dc, s.cfg.Recover, err)
		}
		pauseFor(ctx, 100*time.Millisecond)
	}
	n := s.c.leader(ctx, dc)
	client, err := s.c.client(n)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }() // nothing is under way
	rctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	resp, err := client.Get(rctx, homePrefix, clientv3.WithPrefix(), clientv3.WithSerializable())
	if err != nil {
		return nil, fmt.Errorf("what %s has by itself: %w", n, err)
	}
	had := map[string]string{}
	for _, kv := range resp.Kvs {
		had[string(kv.Key)] = string(kv.Value)
	}
	return had, nil
}

// counted is how many snapshots were merged anywhere.
func (s *stage) counted(context.Context) (n int) {
	for _, dc := range s.c.dcs {
		n += s.c.logged(dc, snapshotMerged)
	}
	return n
}

// judgeAside holds what an old home set aside against what it had and what the others have now.
func (s *stage) judgeAside(ctx context.Context, h *homeLoad, old, next string, had map[string]string) error {
	aside, err := s.c.quarantine(ctx, old)
	if err != nil {
		return err
	}
	client, err := s.c.client(s.c.in(next)...)
	if err != nil {
		return err
	}
	have, err := read(ctx, client)
	_ = client.Close() // nothing is under way
	if err != nil {
		return err
	}
	told := map[string]homePut{}
	for _, p := range h.told() {
		told[p.Key] = p
	}
	var problems []string
	kept := map[string]bool{}
	for _, w := range aside {
		key := string(w.Key)
		kept[key] = true
		p, known := told[key]
		if strings.HasPrefix(key, oncePrefix) && known && p.Outcome == check.Acked {
			problems = append(problems, key+" was acknowledged under QUORUM, and is set aside")
		}
		if _, there := have.values[key]; strings.HasPrefix(key, oncePrefix) && there {
			problems = append(problems, key+" is set aside, and is in the data of "+next)
		}
	}
	once := 0
	for _, key := range slices.Sorted(maps.Keys(had)) {
		if _, there := have.values[key]; !there && strings.HasPrefix(key, oncePrefix) {
			once++
			if !kept[key] {
				problems = append(problems, fmt.Sprintf("%s was in %s, is not in %s, and was not set aside", key, old, next))
			}
		}
	}
	for key := range kept {
		if _, there := had[key]; !there {
			problems = append(problems, fmt.Sprintf("%s is set aside, and %s did not have it", key, old))
		}
	}
	s.say("%s had %d keys and set %d writes aside", old, len(had), len(aside))
	s.v.check("quarantine of "+old, fmt.Sprintf("%d writes, of them %d of keys that nobody wrote again", len(aside), once), problems[:min(len(problems), 10)])
	return nil
}
