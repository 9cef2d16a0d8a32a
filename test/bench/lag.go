package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"

	"geogate/cmd/bench"
)

// tracer puts markers at one place and watches them arrive at another. Both ends are in this process, so
// that one clock measures: the lag of a marker is from the answer to its put until a watch shows it.
type tracer struct {
	from, to *clientv3.Client
	prefix   string
	policy   string

	mu       sync.Mutex
	answered map[int]time.Time // guarded by mu
	seen     map[int]time.Time // guarded by mu
	changed  chan struct{}     // one slot: something was seen
}

const (
	markerClients = 64               // puts of markers under way at a time
	markerTimeout = 30 * time.Second // of one put
	crossTimeout  = 30 * time.Second // for the first marker
	// drainTimeout bounds the wait for what is still on its way when the load has ended.
	drainTimeout = 5 * time.Minute
)

// lags is what a tracer saw.
type lags struct {
	P50, P99 float64 // ms
	Markers  int     // put
	Lost     int     // of them not seen within drainTimeout
	Rate     float64 // markers put per second
	// Busy and Steal are shares of all cores during the load: what was busy, and what the hypervisor took away.
	Busy, Steal float64
	// Tail is from the answer to the last marker until all had been seen.
	Tail time.Duration
}

// trace runs load while a marker is put each interval, and waits until all markers have arrived.
func trace(ctx context.Context, from, to []string, policy string, every time.Duration, load func(context.Context) error) (lags, error) {
	t := &tracer{
		prefix: fmt.Sprintf("/lag/%d/", time.Now().UnixNano()), policy: policy,
		answered: map[int]time.Time{}, seen: map[int]time.Time{}, changed: make(chan struct{}, 1),
	}
	for _, end := range []struct {
		client    **clientv3.Client
		endpoints []string
	}{{&t.from, from}, {&t.to, to}} {
		cl, err := connect(end.endpoints)
		if err != nil {
			return lags{}, err
		}
		defer func() { _ = cl.Close() }() // nothing is under way any more
		*end.client = cl
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := t.watch(ctx); err != nil {
		return lags{}, err
	}
	if err := t.cross(ctx); err != nil {
		return lags{}, err
	}
	return t.run(ctx, every, load)
}

func connect(endpoints []string) (*clientv3.Client, error) {
	cl, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: statusTimeout})
	if err != nil {
		return nil, fmt.Errorf("connect to %v: %w", endpoints, err)
	}
	return cl, nil
}

// watch notes the arrival of markers until ctx ends.
func (t *tracer) watch(ctx context.Context) error {
	w := t.to.Watch(ctx, t.prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	select {
	case r := <-w:
		if err := r.Err(); err != nil {
			return fmt.Errorf("watch %s: %w", t.prefix, err)
		}
	case <-time.After(crossTimeout):
		return fmt.Errorf("watch %s: not created within %s", t.prefix, crossTimeout)
	}
	go func() {
		for r := range w { // a watch that breaks shows as markers that are lost
			now := time.Now()
			t.mu.Lock()
			for _, ev := range r.Events {
				if n, err := strconv.Atoi(strings.TrimPrefix(string(ev.Kv.Key), t.prefix)); err == nil {
					t.seen[n] = now
				}
			}
			t.mu.Unlock()
			select {
			case t.changed <- struct{}{}:
			default:
			}
		}
	}()
	return nil
}

func (t *tracer) put(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, markerTimeout)
	defer cancel()
	if t.policy != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, bench.PolicyHeader, t.policy)
	}
	if _, err := t.from.Put(ctx, t.prefix+strconv.Itoa(n), strings.Repeat("m", 100)); err != nil {
		return fmt.Errorf("put a marker: %w", err)
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered[n] = now
	return nil
}

// cross puts marker -1, which is in no figure, and waits until it has arrived: from then on the way works.
func (t *tracer) cross(ctx context.Context) error {
	if err := t.put(ctx, -1); err != nil {
		return err
	}
	if missing := t.drain(ctx, crossTimeout); missing > 0 {
		return fmt.Errorf("%w: what was put at %v did not arrive at %v within %s", errNoWay, t.from.Endpoints(), t.to.Endpoints(), crossTimeout)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.answered)
	clear(t.seen)
	return nil
}

// drain waits until every marker that was answered has been seen, and is the number of those that were not.
func (t *tracer) drain(ctx context.Context, within time.Duration) (missing int) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		missing = 0
		t.mu.Lock()
		for n := range t.answered {
			if _, ok := t.seen[n]; !ok {
				missing++
			}
		}
		t.mu.Unlock()
		if missing == 0 {
			return 0
		}
		select {
		case <-t.changed:
		case <-timer.C:
			return missing
		case <-ctx.Done():
			return missing
		}
	}
}

func (t *tracer) run(ctx context.Context, every time.Duration, load func(context.Context) error) (lags, error) {
	before, err := machineCPU()
	if err != nil {
		return lags{}, err
	}
	loaded := make(chan error, 1)
	go func() { loaded <- load(ctx) }()
	next, failed := make(chan int), make(chan error, markerClients)
	var clients sync.WaitGroup
	for range markerClients {
		clients.Go(func() { t.client(ctx, next, failed) })
	}
	err = beat(every, next, loaded)
	after, cpuErr := machineCPU()
	close(next)
	clients.Wait()
	close(failed)
	if err := errors.Join(err, cpuErr, <-failed); err != nil {
		return lags{}, err
	}
	lost := t.drain(ctx, drainTimeout)
	if ctx.Err() != nil {
		return lags{}, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	out := t.summary(lost)
	out.Rate = float64(out.Markers) / after.at.Sub(before.at).Seconds()
	out.Busy, out.Steal = after.shares(before)
	return out, nil
}

// client puts the markers that it is given, one at a time.
func (t *tracer) client(ctx context.Context, next <-chan int, failed chan<- error) {
	for n := range next {
		if err := t.put(ctx, n); err != nil {
			select {
			case failed <- err:
			default: // the first ones say enough
			}
		}
	}
}

func (t *tracer) summary(lost int) lags {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := lags{Markers: len(t.answered), Lost: lost}
	var all []float64
	var last, drained time.Time
	for n, at := range t.answered {
		if at.After(last) {
			last = at
		}
		seen, ok := t.seen[n]
		if !ok {
			continue
		}
		all = append(all, max(0, milliseconds(seen.Sub(at)))) // a watch may be faster than the answer
		if seen.After(drained) {
			drained = seen
		}
	}
	out.Tail = max(0, drained.Sub(last))
	slices.Sort(all)
	out.P50, out.P99 = quantile(all, 0.5), quantile(all, 0.99)
	return out
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// quantile is of sorted values, by nearest rank; of none it is 0.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
