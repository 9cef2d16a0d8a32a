//go:build linux

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/test/faults/check"
)

// Prefixes of the keys, by who writes them.
const (
	writesPrefix    = "writes/"    // each key once
	contendedPrefix = "contended/" // few keys, every datacenter, deletions too
	registersPrefix = "registers/" // a datacenter writes only its own
)

const (
	registersPerDC  = 2
	clientsPerDC    = 3 // of registers
	contendedKeys   = 20
	thinkTime       = 25 * time.Millisecond
	failurePause    = 100 * time.Millisecond
	promiseEvery    = 5 // acknowledged writes, one is looked for everywhere
	sampleEvery     = 100 * time.Millisecond
	sampleTimeout   = time.Second
	registerTimeout = 3 * time.Second
)

var policies = []string{"ASYNC", "ANY", "QUORUM", "ALL"}

// load is what clients do to the cluster, and what they saw.
type load struct {
	c     *cluster
	seed  uint64
	start time.Time // of the clock that the recordings have in common

	mu        sync.Mutex // guards everything below
	writes    []check.Write
	promises  []check.Promise
	registers map[string][]porcupine.Operation // by datacenter
	samples   map[string][]check.Sample        // by datacenter
	clients   int                              // of registers, numbered
	where     []string                         // their datacenters
	contended int                              // writes of contended keys that were acknowledged
}

func newLoad(c *cluster, seed uint64) *load {
	return &load{
		c: c, seed: seed, start: time.Now(),
		registers: map[string][]porcupine.Operation{}, samples: map[string][]check.Sample{},
	}
}

// run goes on until ctx ends and every client has its last answer.
func (l *load) run(ctx context.Context) {
	var wg sync.WaitGroup
	stream := uint64(100)
	begin := func(f func(rnd *rand.Rand)) {
		stream++
		rnd := rand.New(rand.NewPCG(l.seed, stream))
		wg.Go(func() { f(rnd) })
	}
	for _, dc := range l.c.dcs {
		nodes := l.c.in(dc)
		for _, policy := range policies {
			begin(func(rnd *rand.Rand) { l.write(ctx, rnd, dc, policy) })
		}
		begin(func(rnd *rand.Rand) { l.contend(ctx, rnd, dc) })
		if l.c.homes {
			readers := homeRegisters
			readers.reads = true
			begin(func(rnd *rand.Rand) { l.writeHome(ctx, rnd, dc) })
			begin(func(rnd *rand.Rand) { l.registerIn(ctx, rnd, homeRegisters, pick(rnd, nodes)) })
			begin(func(rnd *rand.Rand) { l.registerIn(ctx, rnd, readers, pick(rnd, nodes)) })
		}
		for i := range clientsPerDC {
			begin(func(rnd *rand.Rand) { l.register(ctx, rnd, dc, nodes[i%len(nodes)]) })
		}
		for _, n := range nodes {
			begin(func(*rand.Rand) { l.sample(ctx, n) })
		}
	}
	wg.Wait()
}

// write writes keys of its own, one after the other.
func (l *load) write(ctx context.Context, rnd *rand.Rand, dc, policy string) {
	nodes := l.c.in(dc)
	for i := 0; ctx.Err() == nil; i++ {
		w := check.Write{DC: dc, Policy: policy, Key: fmt.Sprintf("%s%s/%s/%06d", writesPrefix, dc, policy, i), Value: value(rnd)}
		// Not bound to ctx: an answer that is under way when the load ends is worth having.
		r, err := l.c.conns[pick(rnd, nodes)].put(context.WithoutCancel(ctx), w.Key, w.Value, policy)
		w.Outcome = outcome(err)
		l.mu.Lock()
		l.writes = append(l.writes, w)
		l.mu.Unlock()
		switch {
		case err != nil:
			pauseFor(ctx, failurePause)
		case i%promiseEvery == 0:
			l.look(ctx, check.Promise{Write: w, AckedBy: r.ackedBy})
		}
		pauseFor(ctx, thinkTime)
	}
}

// homePolicy is the policy of writes to the keyspace with a home, as they are judged.
const homePolicy = "QUORUM in " + homePrefix

// writeHome writes keys of its own in the keyspace that has a home.
func (l *load) writeHome(ctx context.Context, rnd *rand.Rand, dc string) {
	nodes := l.c.in(dc)
	for i := 0; ctx.Err() == nil; i++ {
		w := check.Write{DC: dc, Policy: homePolicy, Key: fmt.Sprintf("%s%s/%06d", oncePrefix, dc, i), Value: value(rnd)}
		_, err := l.c.conns[pick(rnd, nodes)].put(context.WithoutCancel(ctx), w.Key, w.Value, "QUORUM")
		if w.Outcome = outcome(err); w.Outcome == check.Committed {
			w.Outcome = check.Unknown // at a home: the next move may leave it out
		}
		l.mu.Lock()
		l.writes = append(l.writes, w)
		l.mu.Unlock()
		if err != nil {
			pauseFor(ctx, failurePause)
		}
		pauseFor(ctx, thinkTime)
	}
}

// value is different each time and does not compress.
func value(rnd *rand.Rand) string {
	size := 32 + rnd.IntN(600)
	if rnd.IntN(200) == 0 {
		size = 40_000
	}
	return fill(rnd, size*4/3)
}

// fill is text of a size that does not compress.
func fill(rnd *rand.Rand, size int) string {
	raw := make([]byte, size*3/4)
	for i := range raw {
		raw[i] = byte(rnd.Uint32())
	}
	return base64.RawStdEncoding.EncodeToString(raw)
}

// look asks every datacenter for a write that was just acknowledged.
func (l *load) look(ctx context.Context, p check.Promise) {
	p.Seen = map[string]check.Sight{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, dc := range l.c.living() {
		wg.Go(func() {
			for _, n := range l.c.in(dc) {
				_, found, _, err := l.c.conns[n].get(context.WithoutCancel(ctx), p.Key, time.Second)
				if err != nil {
					continue
				}
				mu.Lock()
				defer mu.Unlock()
				p.Seen[dc] = check.Absent
				if found {
					p.Seen[dc] = check.Present
				}
				return
			}
		})
	}
	wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promises = append(l.promises, p)
}

// contend writes and deletes keys that all datacenters write, some in transactions of two.
func (l *load) contend(ctx context.Context, rnd *rand.Rand, dc string) {
	nodes := l.c.in(dc)
	for ctx.Err() == nil {
		key := func(i int) []byte { return fmt.Appendf(nil, "%s%02d", contendedPrefix, i%contendedKeys) }
		i, v := rnd.IntN(contendedKeys), []byte(value(rnd))
		k := l.c.conns[pick(rnd, nodes)]
		cctx, cancel := context.WithTimeout(asyncPolicy(context.WithoutCancel(ctx)), requestTimeout)
		var err error
		switch rnd.IntN(5) {
		case 0:
			_, err = k.rpc.DeleteRange(cctx, &pb.DeleteRangeRequest{Key: key(i)})
		case 1:
			put := func(i int) *pb.RequestOp {
				return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key(i), Value: v}}}
			}
			_, err = k.rpc.Txn(cctx, &pb.TxnRequest{Success: []*pb.RequestOp{put(i), put(i + 1)}})
		default:
			_, err = k.rpc.Put(cctx, &pb.PutRequest{Key: key(i), Value: v})
		}
		cancel()
		if err != nil {
			pauseFor(ctx, failurePause)
		} else {
			l.mu.Lock()
			l.contended++
			l.mu.Unlock()
		}
		pauseFor(ctx, thinkTime)
	}
}

// sample asks a node for its revision again and again.
func (l *load) sample(ctx context.Context, n *node) {
	for ctx.Err() == nil {
		start := time.Since(l.start)
		_, _, revision, err := l.c.conns[n].get(context.WithoutCancel(ctx), "nothing", sampleTimeout)
		if err == nil {
			s := check.Sample{Node: n.String(), Start: start, End: time.Since(l.start), Revision: revision}
			l.mu.Lock()
			l.samples[n.dc] = append(l.samples[n.dc], s)
			l.mu.Unlock()
		}
		pauseFor(ctx, sampleEvery)
	}
}
