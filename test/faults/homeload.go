//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"geogate/test/faults/check"
)

const (
	homeWriters  = 3 // of each datacenter, that try again until they are told that it is done
	homeTries    = 3 * time.Second
	homeThink    = 10 * time.Millisecond
	homeRetry    = 20 * time.Millisecond
	oncePrefix   = homePrefix + "once/"  // each key is tried once
	againPrefix  = homePrefix + "again/" // each key is tried until it is there
	homeRegister = homePrefix + "register"
	homeName     = "home" // of the history of registers
)

// homeRegisters are registers that clients of all datacenters use.
var homeRegisters = registersIn{prefix: homeRegister, name: homeName, policy: "QUORUM", keys: 6, after: 2 * time.Second}

// homeLoad is plain etcd clients in all datacenters that write a single-writer keyspace.
type homeLoad struct {
	c    *cluster
	l    *load // of registers, and of what every run checks
	seed uint64

	mu     sync.Mutex // guards everything below
	puts   []homePut
	errors map[string]int           // by text
	gates  map[string]chan struct{} // of datacenters whose clients may not write now
}

// homePut is a key and what its writer was told.
type homePut struct {
	check.Write
	tries       int
	degraded    bool      // acknowledged under a weaker policy
	began, done time.Time // of the first try, and when it was acknowledged
}

func newHomeLoad(c *cluster, seed uint64) *homeLoad {
	return &homeLoad{c: c, l: newLoad(c, seed), seed: seed, errors: map[string]int{}, gates: map[string]chan struct{}{}}
}

type trailersKey struct{}

// trailers is where those of a call go.
type trailers struct {
	into *metadata.MD
	then func() // after each call
}

// seeTrailers has the trailers of calls put into a place, by clients with withTrailers.
func seeTrailers(ctx context.Context, into *metadata.MD) context.Context {
	return onTrailers(ctx, into, func() {})
}

func onTrailers(ctx context.Context, into *metadata.MD, then func()) context.Context {
	return context.WithValue(ctx, trailersKey{}, trailers{into, then})
}

var withTrailers = grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any,
	conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	t, ok := ctx.Value(trailersKey{}).(trailers)
	if !ok {
		return invoke(ctx, method, req, reply, conn, opts...)
	}
	err := invoke(ctx, method, req, reply, conn, append(opts, grpc.Trailer(t.into))...)
	t.then()
	return err
})

// still stops writes of clients of some datacenters. Reads go on.
func (h *homeLoad) still(dcs ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, dc := range dcs {
		h.gates[dc] = make(chan struct{})
	}
}

// again lets them write.
func (h *homeLoad) again(dcs ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, dc := range dcs {
		if gate := h.gates[dc]; gate != nil {
			close(gate)
		}
		delete(h.gates, dc)
	}
}

// enter waits while clients of a datacenter may not write.
func (h *homeLoad) enter(ctx context.Context, dc string) {
	h.mu.Lock()
	gate := h.gates[dc]
	h.mu.Unlock()
	if gate == nil {
		return
	}
	select {
	case <-gate:
	case <-ctx.Done():
	}
}

// run goes on until ctx ends.
func (h *homeLoad) run(ctx context.Context) error {
	var wg sync.WaitGroup
	var clients []*clientv3.Client
	defer func() {
		wg.Wait()
		for _, c := range clients {
			_ = c.Close() // nothing is under way
		}
	}()
	for _, dc := range h.c.holding() {
		client, err := h.c.clientWith(h.c.in(dc), withTrailers)
		if err != nil {
			return err
		}
		clients = append(clients, client)
		for w := range homeWriters + 1 {
			prefix, again := fmt.Sprintf("%s%s/%d/", againPrefix, dc, w), w < homeWriters
			if !again {
				prefix = oncePrefix + dc + "/"
			}
			rnd := newRand(h.seed, prefix, 0)
			wg.Go(func() { h.write(ctx, rnd, client, dc, prefix, again) })
		}
		for i, n := range h.c.in(dc) {
			writing, reading := newRand(h.seed, homeRegister+dc, uint64(i)), newRand(h.seed, homeRegister+dc+"-reads", uint64(i))
			writers := homeRegisters
			writers.enter = func(ctx context.Context) { h.enter(ctx, dc) }
			wg.Go(func() { h.l.registerIn(ctx, writing, writers, n) })
			readers := homeRegisters
			readers.reads = true
			wg.Go(func() { h.l.registerIn(ctx, reading, readers, n) })
		}
	}
	return nil
}

// write writes keys of its own, one after the other; the last one is tried again after the load has ended, too.
func (h *homeLoad) write(ctx context.Context, rnd *rand.Rand, client *clientv3.Client, dc, prefix string, again bool) {
	const grace = 15 * time.Second
	for i := 0; ctx.Err() == nil; i++ {
		h.enter(ctx, dc)
		p := homePut{began: time.Now(), Write: check.Write{
			DC: dc, Policy: "QUORUM", Key: fmt.Sprintf("%s%06d", prefix, i), Value: fill(rnd, 100+rnd.IntN(400)),
		}}
		var ended time.Time
		for {
			p.tries++
			told := metadata.MD{}
			pctx, cancel := context.WithTimeout(seeTrailers(context.WithoutCancel(ctx), &told), homeTries)
			_, err := client.Put(pctx, p.Key, p.Value)
			cancel()
			if err == nil {
				p.Outcome, p.done, p.degraded = check.Acked, time.Now(), len(told.Get("geogate-degraded")) > 0
				break
			}
			h.mu.Lock()
			h.errors[shorten(err.Error())]++
			h.mu.Unlock()
			if ctx.Err() != nil && ended.IsZero() {
				ended = time.Now()
			}
			if !again || !ended.IsZero() && time.Since(ended) > grace {
				break
			}
			pauseFor(context.WithoutCancel(ctx), homeRetry)
		}
		h.mu.Lock()
		h.puts = append(h.puts, p)
		h.mu.Unlock()
		pauseFor(ctx, homeThink)
	}
}

func shorten(text string) string { return text[:min(len(text), 160)] }

// told is all that was written so far.
func (h *homeLoad) told() []homePut {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.puts)
}

// first is the first write of a datacenter's clients that began and was acknowledged after a moment; any
// datacenter when dc is empty.
func (h *homeLoad) first(dc string, after time.Time) (done time.Time) {
	for _, p := range h.told() {
		if p.Outcome == check.Acked && p.done.After(after) && (dc == "" || p.DC == dc) && (done.IsZero() || p.done.Before(done)) {
			done = p.done
		}
	}
	return done
}

// waitAcks waits until clients of each of some datacenters were told of n more writes.
func (h *homeLoad) waitAcks(ctx context.Context, n int, within time.Duration, dcs ...string) error {
	after, deadline := time.Now(), time.Now().Add(within)
	for {
		counts := map[string]int{}
		for _, p := range h.told() {
			if p.Outcome == check.Acked && p.began.After(after) {
				counts[p.DC]++
			}
		}
		if !slices.ContainsFunc(dcs, func(dc string) bool { return counts[dc] < n }) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return fmt.Errorf("%w: clients of %v want %d writes each, and got %v in %s; errors so far: %v", errNotMet, dcs, n, counts, within, h.errors)
		}
		pauseFor(ctx, 20*time.Millisecond)
	}
}

// pause is the longest time between two acknowledgements to the clients of a datacenter that ended in [from, to].
func (h *homeLoad) pause(dc string, from, to time.Time) (longest time.Duration) {
	var at []time.Time
	for _, p := range h.told() {
		if p.Outcome == check.Acked && (dc == "" || p.DC == dc) && !p.done.After(to) {
			at = append(at, p.done)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	for i := 1; i < len(at); i++ {
		if at[i].After(from) {
			longest = max(longest, at[i].Sub(at[i-1]))
		}
	}
	return longest
}

// report says what the writers were told.
func (h *homeLoad) report(say func(string, ...any)) {
	var acked, again, open int
	var slowest time.Duration
	for _, p := range h.told() {
		switch {
		case p.Outcome != check.Acked:
			open++
		case p.tries > 1:
			again++
			fallthrough
		default:
			acked++
			slowest = max(slowest, p.done.Sub(p.began))
		}
	}
	say("%d keys acknowledged, %d of them after more than one try, the slowest after %.2fs; %d never", acked, again, slowest.Seconds(), open)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range slices.Sorted(maps.Keys(h.errors)) {
		say("  %5d times %q", h.errors[text], text)
	}
}
