package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"geogate/cmd/bench"
)

// natsLoad is the command by which this program becomes a load generator for a JetStream bucket: the closed
// loop of `geogate bench put` in another protocol.
const natsLoad = "nats-put"

const (
	natsKeys                 = 10_000
	natsClientsPerConnection = 32
	natsTimeout              = 10 * time.Second
)

type natsRun struct {
	Servers    []string
	Clients    int
	Total      int // 0 means until Duration
	Duration   time.Duration
	ValueBytes int
	started    atomic.Int64
}

func newNATSLoad() *cobra.Command {
	r := &natsRun{}
	cmd := &cobra.Command{Use: natsLoad, Short: "Put into a JetStream bucket", Hidden: true, Args: cobra.NoArgs}
	f := cmd.Flags()
	f.StringSliceVar(&r.Servers, "servers", nil, "NATS URLs")
	f.IntVar(&r.Clients, "clients", 1, "puts under way at a time")
	f.IntVar(&r.Total, "total", 0, "puts in all")
	f.DurationVar(&r.Duration, "duration", time.Second, "how long to run without --total")
	f.IntVar(&r.ValueBytes, "value-bytes", 256, "of each value")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		out, err := r.run(cmd.Context())
		if err != nil {
			return err
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(out)
	}
	return cmd
}

// natsTally is what one client saw.
type natsTally struct {
	latency *hdrhistogram.Histogram // microseconds
	errors  int64
	first   error
}

func (r *natsRun) run(ctx context.Context) (bench.Result, error) {
	buckets := make([]jetstream.KeyValue, max((r.Clients+natsClientsPerConnection-1)/natsClientsPerConnection, min(len(r.Servers), r.Clients)))
	for i := range buckets {
		conn, err := nats.Connect(r.Servers[i%len(r.Servers)])
		if err != nil {
			return bench.Result{}, fmt.Errorf("connect to %s: %w", r.Servers[i%len(r.Servers)], err)
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			return bench.Result{}, err
		}
		if buckets[i], err = js.KeyValue(ctx, natsBucket); err != nil {
			return bench.Result{}, fmt.Errorf("open the bucket %s: %w", natsBucket, err)
		}
	}
	value := bytes.Repeat([]byte("x"), r.ValueBytes)
	tallies := make([]natsTally, r.Clients)
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range tallies {
		tallies[i].latency = hdrhistogram.New(1, time.Hour.Microseconds(), 3)
		wg.Go(func() { r.client(ctx, begin, buckets[i%len(buckets)], value, &tallies[i]) })
	}
	wg.Wait()
	return r.result(tallies, time.Since(begin)), ctx.Err()
}

func (r *natsRun) client(ctx context.Context, begin time.Time, kv jetstream.KeyValue, value []byte, t *natsTally) {
	for ctx.Err() == nil {
		if n := r.started.Add(1); r.Total > 0 && n > int64(r.Total) || r.Total == 0 && time.Since(begin) >= r.Duration {
			return
		}
		pctx, cancel := context.WithTimeout(ctx, natsTimeout)
		at := time.Now()
		_, err := kv.Put(pctx, fmt.Sprintf("k%08d", rand.IntN(natsKeys)), value)
		took := time.Since(at)
		cancel()
		if err != nil {
			t.errors++
			if t.first == nil {
				t.first = err
			}
			continue
		}
		_ = t.latency.RecordValue(max(1, took.Microseconds())) // within its hour by the timeout
	}
}

func (r *natsRun) result(tallies []natsTally, elapsed time.Duration) bench.Result {
	all := hdrhistogram.New(1, time.Hour.Microseconds(), 3)
	out := bench.Result{Op: bench.Put, Clients: r.Clients, ValueBytes: r.ValueBytes, Seconds: elapsed.Seconds()}
	for _, t := range tallies {
		all.Merge(t.latency)
		out.Errors += t.errors
		if out.FirstError == "" && t.first != nil {
			out.FirstError = t.first.Error()
		}
	}
	ms := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1000 }
	out.Total, out.Rate = all.TotalCount()+out.Errors, float64(all.TotalCount())/elapsed.Seconds()
	out.P50, out.P90, out.P99, out.P999 = ms(50), ms(90), ms(99), ms(99.9)
	return out
}
