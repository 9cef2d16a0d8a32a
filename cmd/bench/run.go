package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
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
	conns, err := dial(ctx, &c)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close() // nothing is under way any more
		}
	}()
	if err != nil {
		return Result{}, err
	}
	if c.Op == Get {
		if err := fill(ctx, &c, conns); err != nil {
			return Result{}, err
		}
	}
	r := &run{config: &c}
	return r.measure(ctx, conns), nil
}

// dial opens the connections and waits until each has answered once, so that the run does not measure it.
func dial(ctx context.Context, c *Config) ([]*grpc.ClientConn, error) {
	var conns []*grpc.ClientConn
	for i := range c.connections() {
		endpoint := c.Endpoints[i%len(c.Endpoints)]
		conn, err := connect(endpoint)
		if err != nil {
			return conns, fmt.Errorf("connect to %s: %w", endpoint, err)
		}
		conns = append(conns, conn)
		cctx, cancel := context.WithTimeout(ctx, min(c.Timeout, probeTimeout))
		_, err = pb.NewKVClient(conn).Range(cctx, &pb.RangeRequest{Key: []byte(c.Prefix), Serializable: true, CountOnly: true})
		cancel()
		if err != nil {
			return conns, fmt.Errorf("no answer from %s; is it the client address of a running node? %w", endpoint, err)
		}
	}
	return conns, nil
}

// fill puts every key that a get may ask for, unless they are there.
func fill(ctx context.Context, c *Config, conns []*grpc.ClientConn) error {
	cctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	all := &pb.RangeRequest{Key: []byte(c.Prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(c.Prefix)), CountOnly: true}
	resp, err := pb.NewKVClient(conns[0]).Range(cctx, all)
	if err != nil {
		return fmt.Errorf("count the keys under %s: %w", c.Prefix, err)
	}
	if resp.Count >= int64(c.Keys) {
		return nil
	}
	put := *c
	put.Op, put.Total, put.Duration = Put, c.Keys, 0
	put.Clients = max(c.Clients, clientsPerConnection)
	r := &run{config: &put, sequential: true}
	if got := r.measure(ctx, conns); got.Errors > 0 {
		return fmt.Errorf("put %d keys to read them: %d failed: %s", c.Keys, got.Errors, got.FirstError)
	}
	return ctx.Err()
}

// run is one closed loop of clients.
type run struct {
	config     *Config
	sequential bool         // the n-th request takes the n-th key
	started    atomic.Int64 // requests
}

func (r *run) measure(ctx context.Context, conns []*grpc.ClientConn) Result {
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
		wg.Go(func() { r.client(ctx, deadline, conns[i%len(conns)], tallies[i]) })
	}
	wg.Wait()
	return summarize(r.config, tallies, time.Since(begin))
}

func (r *run) client(ctx context.Context, deadline <-chan struct{}, conn *grpc.ClientConn, t *tally) {
	cl := newClient(ctx, r.config, conn)
	defer cl.close()
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
		if !r.sequential {
			n = cl.randomKey()
		}
		begin := time.Now()
		err := cl.request(begin, n)
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
