package replication

import (
	"context"
	"net"
	"sync"
	"time"
)

// dials is how many attempts to connect may be under way at a time.
const dials = 4

// dialAgain connects within a time. While no answer comes it begins another attempt beside those that wait, and takes the
// first that ends, well or not: TCP sends the first packet of a connection a second time only after a second, so one that
// was begun just before a link heals would wait for so long, or for all of its time.
func dialAgain(ctx context.Context, within time.Duration, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	results := make(chan result, dials)
	var under sync.WaitGroup
	defer func() {
		cancel()
		under.Wait()
		close(results)
		for r := range results {
			if r.conn != nil {
				_ = r.conn.Close() // nobody uses it
			}
		}
	}()
	begin := func() {
		under.Go(func() {
			c, err := dial(ctx)
			results <- result{c, err}
		})
	}
	again := time.NewTicker(within / dials)
	defer again.Stop()
	begin()
	for begun := 1; ; {
		select {
		case r := <-results:
			return r.conn, r.err
		case <-again.C:
			if begun < dials {
				begun++
				begin()
			}
		}
	}
}
