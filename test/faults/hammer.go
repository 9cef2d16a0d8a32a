//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"geogate/test/faults/check"
)

const (
	hammerWriters  = 48 // of each datacenter
	hammerKeys     = 64
	hammerBytes    = 1024
	hammerHistory  = 5000 // revisions that compactions leave
	hammerMeasures = 500 * time.Millisecond
)

// hammer writes as fast as it is answered, under ASYNC, the same keys again and again, while history is
// compacted: all that could grow is what is kept for a peer.
type hammer struct {
	c    *cluster
	seed uint64
	dcs  []string

	mu     sync.Mutex // guards everything below
	phases []*phase
	final  map[string]check.Write // by key, the last acknowledged one
	failed []string
}

// phase is what was measured in a part of the time.
type phase struct {
	name   string
	began  time.Time
	took   time.Duration
	puts   []time.Duration
	memory map[*node][]check.Point
	most   map[*node]size
}

// size is what a node has on its disk.
type size struct{ data, stream uint64 }

func newHammer(c *cluster, seed uint64, dcs []string) *hammer {
	h := &hammer{c: c, seed: seed, dcs: dcs, final: map[string]check.Write{}}
	h.phase("warm-up")
	return h
}

// phase begins the next part of the time.
func (h *hammer) phase(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.phases) > 0 {
		h.nowLocked().took = time.Since(h.nowLocked().began)
	}
	h.phases = append(h.phases, &phase{name: name, began: time.Now(), memory: map[*node][]check.Point{}, most: map[*node]size{}})
}

func (h *hammer) nowLocked() *phase { return h.phases[len(h.phases)-1] }

// run goes on until ctx ends.
func (h *hammer) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, dc := range h.dcs {
		for w := range hammerWriters {
			wg.Go(func() { h.write(ctx, dc, w) })
		}
	}
	for _, dc := range h.c.dcs {
		wg.Go(func() {
			for ctx.Err() == nil {
				if s, err := h.c.status(ctx, h.c.leader(ctx, dc)); err == nil {
					h.c.compact(ctx, dc, s.Revision-hammerHistory)
				}
				pauseFor(ctx, time.Second)
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			h.measure()
			pauseFor(ctx, hammerMeasures)
		}
	})
	wg.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nowLocked().took = time.Since(h.nowLocked().began)
}

// write asks the leader, as a client that wants the least delay would.
func (h *hammer) write(ctx context.Context, dc string, w int) {
	rnd := newRand(h.seed, dc, uint64(w))
	padding := fill(rnd, hammerBytes)
	leader := h.c.leader(ctx, dc)
	for i := 0; ctx.Err() == nil; i++ {
		p := check.Write{
			DC: dc, Policy: "ASYNC", Outcome: check.Acked,
			Key:   fmt.Sprintf("%s%s/%d/%04d", writesPrefix, dc, w, i%hammerKeys),
			Value: fmt.Sprintf("%d %s", i, padding),
		}
		began := time.Now()
		_, err := h.c.conns[leader].put(context.WithoutCancel(ctx), p.Key, p.Value, p.Policy)
		took := time.Since(began)
		h.mu.Lock()
		if err == nil {
			h.nowLocked().puts = append(h.nowLocked().puts, took)
			h.final[p.Key] = p
		} else {
			h.failed = append(h.failed, fmt.Sprintf("%s, %s: %v", h.nowLocked().name, p.Key, err))
			delete(h.final, p.Key)
		}
		h.mu.Unlock()
		if err != nil {
			pauseFor(ctx, failurePause)
			leader = h.c.leader(ctx, dc)
		}
	}
}

func (h *hammer) measure() {
	for _, n := range h.c.nodes {
		n.measure()
		memory := n.now()
		stream := diskUsage(filepath.Join(n.spec.Dir, "nats"))
		data := diskUsage(n.spec.Dir) - stream
		h.mu.Lock()
		p := h.nowLocked()
		if memory > 0 {
			p.memory[n] = append(p.memory[n], check.Point{At: time.Since(p.began), Value: float64(memory)})
		}
		m := p.most[n]
		p.most[n] = size{max(m.data, data), max(m.stream, stream)}
		h.mu.Unlock()
	}
}

func (h *hammer) find(name string) *phase {
	for _, p := range h.phases {
		if p.name == name {
			return p
		}
	}
	return &phase{name: name}
}

// The rest is called when run has ended.

func (h *hammer) memory(phase string, n *node) []check.Point { return h.find(phase).memory[n] }
func (h *hammer) most(phase string, n *node) size            { return h.find(phase).most[n] }

func (h *hammer) latency(phase string, part float64) time.Duration {
	return check.Quantile(h.find(phase).puts, part).Round(10 * time.Microsecond)
}

func (h *hammer) acked() (count int) {
	for _, p := range h.phases {
		count += len(p.puts)
	}
	return count
}

func (h *hammer) failures() []string {
	const most = 10
	return h.failed[:min(most, len(h.failed))]
}

func (h *hammer) last() (out []check.Write) {
	for _, w := range h.final {
		out = append(out, w)
	}
	return out
}

// table is what was measured, as it goes into a page.
func (h *hammer) table() []string {
	out := []string{"| phase | seconds | ASYNC writes/s | p50 | p99 | longest |", "|---|---|---|---|---|---|"}
	for _, p := range h.phases {
		out = append(out, fmt.Sprintf("| %s | %.0f | %.0f | %s | %s | %s |", p.name, p.took.Seconds(), float64(len(p.puts))/p.took.Seconds(),
			h.latency(p.name, 0.5), h.latency(p.name, 0.99), h.latency(p.name, 1)))
	}
	head := "| MiB of |"
	for _, p := range h.phases {
		head += " " + p.name + " |"
	}
	out = append(out, head, "|---|"+strings.Repeat("---|", len(h.phases)))
	for _, n := range h.c.nodes {
		memory, data, stream := fmt.Sprintf("| memory of %s, mean and growth |", n), fmt.Sprintf("| data of %s, most |", n), fmt.Sprintf("| stream of %s, most |", n)
		for _, p := range h.phases {
			growth, mean := check.Trend(p.memory[n])
			memory += fmt.Sprintf(" %.0f %+.0f |", mean/(1<<20), growth/(1<<20))
			data += fmt.Sprintf(" %d |", p.most[n].data>>20)
			stream += fmt.Sprintf(" %d |", p.most[n].stream>>20)
		}
		out = append(out, memory, data, stream)
	}
	return out
}
