package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"
)

// PolicyHeader is the gRPC metadata with which a request asks for its own write policy.
const PolicyHeader = "geogate-policy"

// probeTimeout bounds the first request of a connection.
const probeTimeout = 3 * time.Second

// errorPause keeps clients of a dead endpoint from spinning.
const errorPause = 10 * time.Millisecond

// Run does what c says and returns early, with what was measured so far, when ctx ends. Requests that
// fail are counted, not retried; the error is for a run that could not start.
func Run(ctx context.Context, c Config) (Result, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return Result{}, err
	}
	clients, err := dial(ctx, &c)
	defer func() {
		for _, cl := range clients {
			_ = cl.Close() // nothing is under way any more
		}
	}()
	if err != nil {
		return Result{}, err
	}
	if c.Op == Get {
		if err := fill(ctx, &c, clients); err != nil {
			return Result{}, err
		}
	}
	r := &run{config: &c, value: bytes.Repeat([]byte("x"), c.ValueBytes)}
	return r.measure(ctx, clients), nil
}

// dial opens the connections and waits until each has answered once, so that the run does not measure it.
func dial(ctx context.Context, c *Config) ([]*clientv3.Client, error) {
	var clients []*clientv3.Client
	for i := range c.connections() {
		endpoint := c.Endpoints[i%len(c.Endpoints)]
		cl, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop(), DialTimeout: c.Timeout})
		if err != nil {
			return clients, fmt.Errorf("connect to %s: %w", endpoint, err)
		}
		clients = append(clients, cl)
		cctx, cancel := context.WithTimeout(ctx, min(c.Timeout, probeTimeout))
		_, err = cl.Get(cctx, c.Prefix, clientv3.WithSerializable(), clientv3.WithCountOnly())
		cancel()
		if err != nil {
			return clients, fmt.Errorf("no answer from %s; is it the client address of a running node? %w", endpoint, err)
		}
	}
	return clients, nil
}

// fill puts every key that a get may ask for, unless they are there.
func fill(ctx context.Context, c *Config, clients []*clientv3.Client) error {
	cctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	resp, err := clients[0].Get(cctx, c.Prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("count the keys under %s: %w", c.Prefix, err)
	}
	if resp.Count >= int64(c.Keys) {
		return nil
	}
	put := *c
	put.Op, put.Total, put.Duration = Put, c.Keys, 0
	put.Clients = max(c.Clients, clientsPerConnection)
	r := &run{config: &put, value: bytes.Repeat([]byte("x"), c.ValueBytes), sequential: true}
	if got := r.measure(ctx, clients); got.Errors > 0 {
		return fmt.Errorf("put %d keys to read them: %d failed: %s", c.Keys, got.Errors, got.FirstError)
	}
	return ctx.Err()
}

// run is one closed loop of clients.
type run struct {
	config     *Config
	value      []byte
	sequential bool         // the n-th request takes the n-th key
	started    atomic.Int64 // requests
}

func (r *run) measure(ctx context.Context, clients []*clientv3.Client) Result {
	// Requests under way when the time is over are finished and counted; only ctx cuts them off.
	var deadline <-chan struct{}
	if r.config.Duration > 0 {
		timer, cancel := context.WithTimeout(ctx, r.config.Duration)
		defer cancel()
		deadline = timer.Done()
	}
	tallies := make([]*tally, r.config.Clients)
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range tallies {
		tallies[i] = newTally()
		wg.Go(func() { r.client(ctx, deadline, clients[i%len(clients)], tallies[i]) })
	}
	wg.Wait()
	return summarize(r.config, tallies, time.Since(begin))
}

func (r *run) client(ctx context.Context, deadline <-chan struct{}, cl *clientv3.Client, t *tally) {
	for {
		select {
		case <-deadline:
			return
		case <-ctx.Done():
			return
		default:
		}
		n := r.started.Add(1) - 1
		if r.config.Total > 0 && n >= int64(r.config.Total) {
			return
		}
		begin := time.Now()
		err := r.request(ctx, cl, n)
		if ctx.Err() != nil {
			return // cut off by the caller: neither a success nor the server's error
		}
		t.add(time.Since(begin), err)
		if err != nil {
			select {
			case <-time.After(errorPause):
			case <-ctx.Done():
			}
		}
	}
}

func (r *run) request(ctx context.Context, cl *clientv3.Client, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	if !r.sequential {
		n = rand.Int64N(int64(r.config.Keys))
	}
	key := fmt.Sprintf("%s%08d", r.config.Prefix, n%int64(r.config.Keys))
	if r.config.Policy != "" && r.config.Op != Get {
		ctx = metadata.AppendToOutgoingContext(ctx, PolicyHeader, r.config.Policy)
	}
	switch r.config.Op {
	case Put:
		_, err := cl.Put(ctx, key, string(r.value))
		return err
	case Txn:
		return r.txn(ctx, cl, key)
	}
	var opts []clientv3.OpOption
	if r.config.Serializable {
		opts = append(opts, clientv3.WithSerializable())
	}
	_, err := cl.Get(ctx, key, opts...)
	return err
}

// txn compares and puts. The comparison reads the key and always holds, so that every transaction writes, at
// whatever rate others do.
func (r *run) txn(ctx context.Context, cl *clientv3.Client, key string) error {
	resp, err := cl.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(key), ">", -1)).
		Then(clientv3.OpPut(key, string(r.value))).
		Commit()
	if err == nil && !resp.Succeeded {
		return fmt.Errorf("%w: %s has a version of -1 or less", errCompare, key)
	}
	return err
}
