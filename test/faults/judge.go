//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/test/faults/check"
)

// verdict counts checks and prints each.
type verdict struct {
	say            func(format string, args ...any)
	passed, failed int
	acked          int           // writes
	slowest        time.Duration // the longest wait until everything worked again
}

// check notes a check's problems; about says how much was looked at.
func (v *verdict) check(name, about string, problems []string) {
	if len(problems) == 0 {
		v.passed++
		v.say("pass: %s (%s)", name, about)
		return
	}
	v.failed++
	v.say("FAIL: %s (%s)", name, about)
	for _, p := range problems {
		v.say("      %s", p)
	}
}

// contents is what a datacenter holds when all is over.
type contents struct {
	revision int64
	values   map[string]string        // of keys that are written once
	versions map[string]check.Version // of all keys
}

// read reads a whole datacenter, at one revision.
func read(ctx context.Context, client *clientv3.Client) (contents, error) {
	out := contents{values: map[string]string{}, versions: map[string]check.Version{}}
	const page = 500
	from := "\x00"
	for {
		opts := []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithLimit(page)}
		if out.revision != 0 {
			opts = append(opts, clientv3.WithRev(out.revision))
		}
		resp, err := client.Get(ctx, from, opts...)
		if err != nil {
			return out, err
		}
		if out.revision == 0 {
			out.revision = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			key := string(kv.Key)
			out.versions[key] = check.Version{Revision: kv.ModRevision, Value: xxhash.Sum64(kv.Value)}
			if strings.HasPrefix(key, writesPrefix) || strings.HasPrefix(key, homePrefix) {
				out.values[key] = string(kv.Value)
			}
			from = key + "\x00"
		}
		if !resp.More {
			return out, nil
		}
	}
}

// states asks every node for its vector and digest.
func (c *cluster) states(ctx context.Context) (out []check.State, err error) {
	for _, n := range c.nodes {
		if c.isLost(n.dc) || n.dc == c.votes {
			continue
		}
		s, err := c.status(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		out = append(out, check.State{Node: n.String(), Vector: s.Vector, Digest: s.Digest})
	}
	return out, nil
}

// converge waits until all nodes are equal, and returns what is wrong when they are not in time.
func (c *cluster) converge(ctx context.Context, within time.Duration) []string {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	problems := []string{"no node was asked"}
	for ctx.Err() == nil {
		states, err := c.states(ctx)
		switch {
		case err == nil:
			if problems = check.Converged(states); problems == nil {
				return nil
			}
		case !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil:
			problems = []string{err.Error()}
		}
		pauseFor(ctx, 100*time.Millisecond)
	}
	return problems
}

const (
	watchCatchUp  = 30 * time.Second
	historyWithin = 30 * time.Second
	linearWithin  = time.Minute
)

// judge checks everything that was recorded.
func (l *load) judge(ctx context.Context, v *verdict, watchers []*watcher, out string) error {
	data := map[string]map[string]string{}
	for _, dc := range l.c.living() {
		client, err := l.c.client(l.c.in(dc)...)
		if err != nil {
			return err
		}
		have, err := read(ctx, client)
		_ = client.Close() // nothing is under way
		if err != nil {
			return fmt.Errorf("read all of %s: %w", dc, err)
		}
		data[dc] = have.values
		if err := l.judgeWatches(ctx, v, dc, have, watchers); err != nil {
			return err
		}
	}
	l.judgeWrites(v, data)
	histories := slices.Clone(l.c.dcs)
	if l.c.homes {
		histories = append(histories, homeName)
	}
	for _, dc := range histories {
		ops := l.registers[dc]
		open := 0
		for _, op := range ops {
			if op.Return == check.Never {
				open++
			}
		}
		v.check("registers of "+dc, fmt.Sprintf("%d operations, %d of them without answer", len(ops), open),
			check.Registers(ops, linearWithin, filepath.Join(out, "registers-"+dc+".html")))
		if dc == homeName {
			continue
		}
		v.check("revisions of "+dc, fmt.Sprintf("%d samples", len(l.samples[dc])), check.Revisions(l.samples[dc]))
	}
	return nil
}

// judgeWrites compares the answers to writes with what the living datacenters hold.
func (l *load) judgeWrites(v *verdict, data map[string]map[string]string) {
	judged := slices.Clone(policies)
	if l.c.homes {
		judged = append(judged, homePolicy)
	}
	for _, policy := range judged {
		writes := slices.DeleteFunc(slices.Clone(l.writes), func(w check.Write) bool { return w.Policy != policy })
		promises := slices.DeleteFunc(slices.Clone(l.promises), func(p check.Promise) bool { return p.Policy != policy })
		counts := map[check.Outcome]int{}
		for _, w := range writes {
			counts[w.Outcome]++
		}
		about := fmt.Sprintf("%d acknowledged, %d committed locally, %d refused, %d unknown",
			counts[check.Acked], counts[check.Committed], counts[check.Refused], counts[check.Unknown])
		v.check("writes under "+policy, about, check.Writes(check.Survivors(writes, promises, l.c.lost), data))
		if len(l.c.lost) > 0 {
			v.check("writes under "+policy+" have no holes", about, check.Prefixes(writes, data))
		}
		if policy == homePolicy {
			continue
		}
		v.check("where writes under "+policy+" were when acknowledged", fmt.Sprintf("%d looked for", len(promises)),
			check.Promises(promises, len(l.c.dcs)))
	}
}

// judgeWatches takes a datacenter's history from a fresh watch of each of its nodes, checks it against the
// data, and the watchers against it. What was compacted was seen by the watchers, and one of them stands in
// for it.
func (l *load) judgeWatches(ctx context.Context, v *verdict, dc string, have contents, watchers []*watcher) error {
	gone := l.c.compacted(dc)
	var before []check.Event
	for _, w := range watchers {
		if w.dc == dc && gone.asked > 0 {
			before = w.reach(ctx, gone.asked, watchCatchUp)
			before = before[:sort.Search(len(before), func(i int) bool { return before[i].Revision > gone.asked })]
			break
		}
	}
	var history []check.Event
	for i, n := range l.c.in(dc) {
		w, err := newWatcher(l.c, n.String(), dc, n)
		if err != nil {
			return err
		}
		w.after = gone.asked
		wctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.run(wctx)
		}()
		events := slices.Concat(before, w.reach(ctx, have.revision, historyWithin))
		cancel()
		<-done
		_ = w.client.Close() // its watch is over
		if i == 0 {
			history = events
			v.check("history of "+dc, fmt.Sprintf("%d events to revision %d, up to %d from a watcher", len(history), have.revision, gone.asked),
				check.History(history, have.revision, have.versions))
		} else {
			v.check("history of "+n.String(), fmt.Sprintf("%d events", len(events)), check.Watch(history, events))
		}
		if gone.done > 0 {
			s, err := l.c.status(ctx, n)
			if err != nil {
				return err
			}
			v.check("compaction of "+n.String(), fmt.Sprintf("at %d, done up to %d, asked for up to %d", s.Compacted, gone.done, gone.asked),
				check.Compacted(s.Compacted, gone.done, gone.asked))
		}
	}
	for _, w := range watchers {
		if w.dc != dc {
			continue
		}
		seen := w.reach(ctx, have.revision, watchCatchUp)
		w.mu.Lock()
		opened := w.opened
		w.mu.Unlock()
		v.check("watcher of "+w.name, fmt.Sprintf("%d events, %d watches", len(seen), opened), check.Watch(history, seen))
	}
	return nil
}

// judgeNodes checks what the processes did by themselves.
func (c *cluster) judgeNodes(v *verdict, cfg config) error {
	var used []check.Usage
	var ended, crashed []string
	for _, n := range c.nodes {
		used = append(used, n.measure())
		ended = append(ended, n.unexpected()...)
		lines, err := crashes(n.log)
		if err != nil {
			return err
		}
		crashed = append(crashed, lines...)
	}
	rss := slices.MaxFunc(used, func(a, b check.Usage) int { return cmp.Compare(a.RSSBytes, b.RSSBytes) })
	disk := slices.MaxFunc(used, func(a, b check.Usage) int { return cmp.Compare(a.DiskBytes, b.DiskBytes) })
	v.check("memory and disk", fmt.Sprintf("at most %d MiB in %s and %d MiB in %s; may be %d and %d",
		rss.RSSBytes>>20, rss.Node, disk.DiskBytes>>20, disk.Node, cfg.MaxRSSMiB, cfg.MaxDiskMiB),
		check.Bounds(used, cfg.MaxRSSMiB<<20, cfg.MaxDiskMiB<<20))
	v.check("no node ended by itself", fmt.Sprintf("%d nodes", len(c.nodes)), ended)
	v.check("no panic", fmt.Sprintf("%d logs", len(c.nodes)), crashed)
	return nil
}
