package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/metadata"

	"geogate/cmd/bench"
)

// valuesOf makes the n-th value of so many bytes. The same seed gives the same values.
type valuesOf func(r *rand.Rand, bytes int) string

// randomValue can't be compressed.
func randomValue(r *rand.Rand, bytes int) string {
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// recordWords are what texts in records are made of.
const recordWords = "accepted backend cache deploy east error finished frontend healthy leader node pending queue ready retry shard stable started west worker"

// jsonValue is a record as services keep them: identifiers and counters that differ, names that repeat.
func jsonValue(r *rand.Rand, bytes int) string {
	words := strings.Fields(recordWords)
	word := func() string { return words[r.IntN(len(words))] }
	var b strings.Builder
	fmt.Fprintf(&b, `{"id":"%016x%016x","name":"%s-%s-%d","host":"10.%d.%d.%d","port":%d,"state":"%s","generation":%d,"updated_at":%d,"note":"`,
		r.Uint64(), r.Uint64(), word(), word(), r.IntN(1000), r.IntN(256), r.IntN(256), r.IntN(256), 1024+r.IntN(64512), word(),
		r.IntN(10_000), 1_700_000_000_000+r.Int64N(100_000_000_000))
	const end = `"}`
	for b.Len()+len(end) < bytes {
		b.WriteString(word())
		b.WriteByte(' ')
	}
	text := b.String()
	return text[:min(len(text), max(0, bytes-len(end)))] + end
}

// writers put at a time what is written without being measured itself.
const writers = 64

// write puts the keys prefix0 to prefix(n-1) under a policy and returns the bytes of keys and values.
func write(ctx context.Context, endpoints []string, prefix, policy string, n, bytes int, value valuesOf) (int64, error) {
	cl, err := connect(endpoints)
	if err != nil {
		return 0, err
	}
	defer func() { _ = cl.Close() }() // nothing is under way any more
	var next, payload atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for w := range min(writers, n) {
		group.Go(func() error {
			r := rand.New(rand.NewPCG(uint64(w), uint64(n)))
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				key, v := fmt.Sprintf("%s%08d", prefix, i), value(r, bytes)
				pctx, cancel := context.WithTimeout(ctx, markerTimeout)
				if policy != "" {
					pctx = metadata.AppendToOutgoingContext(pctx, bench.PolicyHeader, policy)
				}
				_, err := cl.Put(pctx, key, v)
				cancel()
				if err != nil {
					return fmt.Errorf("put %s: %w", key, err)
				}
				payload.Add(int64(len(key) + len(v)))
			}
			return nil
		})
	}
	err = group.Wait()
	return payload.Load(), err
}
