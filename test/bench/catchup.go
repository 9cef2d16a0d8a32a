package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/cmd/bench"
	"geogate/cmd/status"
)

const (
	// volumeKeys are written to see what a byte costs on the WAN.
	volumeKeys = 20_000
	// arrivePoll is how often a peer is asked whether a key has arrived.
	arrivePoll = 10 * time.Millisecond
	// arriveTimeout bounds the wait for it.
	arriveTimeout = 10 * time.Minute
	// undisturbedClients put while a peer catches up, and before.
	undisturbedClients = 16
)

// volume counts bytes between datacenters.
func (r *runner) volume(ctx context.Context, g *region) error {
	for _, v := range []struct {
		name  string
		value valuesOf
	}{{"JSON", jsonValue}, {"random", randomValue}} {
		prefix := "/volume/" + v.name + "/"
		n := min(volumeKeys, r.cfg.CatchUp)
		before := g.bytes()
		payload, err := write(ctx, g.dcs[0].Endpoints(), prefix, async, n, r.cfg.ValueBytes, v.value)
		if err != nil {
			return fmt.Errorf("%s values: %w", v.name, err)
		}
		peers := g.dcs[1:]
		for _, d := range peers {
			if err := arrived(ctx, d.Endpoints(), prefix, n); err != nil {
				return err
			}
		}
		crossed := g.bytes() - before
		r.add(geoRow{
			Case: fmt.Sprintf("%s values of %d bytes", v.name, r.cfg.ValueBytes), Side: "WAN", Clients: writers,
			PerByte: float64(crossed) / float64(payload) / float64(len(peers)),
		})
	}
	return nil
}

// arrived waits until all n keys under a prefix are there.
func arrived(ctx context.Context, endpoints []string, prefix string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, arriveTimeout)
	defer cancel()
	cl, err := connect(endpoints)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }() // only asked
	for {
		resp, err := cl.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
		if err != nil {
			return fmt.Errorf("count the keys under %s at %v: %w", prefix, endpoints, err)
		}
		if resp.Count >= int64(n) {
			return nil
		}
		if err := pause(ctx, arrivePoll); err != nil {
			return fmt.Errorf("%d of %d keys under %s arrived at %v: %w", resp.Count, n, prefix, endpoints, err)
		}
	}
}

// chase is how a datacenter came after another.
type chase struct {
	began    time.Time // when its node was started
	first    time.Time // when it first said how far it is
	end      time.Time // when it had everything
	from, to int64     // revisions of the other datacenter that it had then
}

// follow watches a datacenter that was started until it has a revision of another. It asks the first node's
// admin port, because an etcd client would wait before it tries a connection again.
func follow(ctx context.Context, admin, origin string, revision int64) (c chase, err error) {
	ctx, cancel := context.WithTimeout(ctx, arriveTimeout)
	defer cancel()
	c.began = time.Now()
	for {
		r, _, err := status.Fetch(ctx, admin)
		if now := time.Now(); err == nil {
			c.to = r.Vector[origin]
			if c.first.IsZero() {
				c.first, c.from = now, c.to
			}
			if c.end = now; c.to >= revision {
				return c, nil
			}
		}
		if perr := pause(ctx, arrivePoll); perr != nil {
			return c, fmt.Errorf("%s has revision %d of %s and wants %d: %w", admin, c.to, origin, revision, errors.Join(perr, err))
		}
	}
}

// catchUp stops the last datacenter, writes, starts it, and measures how fast it comes after and what that does
// to those who write elsewhere.
func (r *runner) catchUp(ctx context.Context, g *region) error {
	calm, err := r.local(ctx, g.dcs[0], r.cfg.Duration)
	if err != nil {
		return err
	}
	calm.Case, calm.Side = "put ASYNC, all datacenters up", g.name(0)
	r.add(calm)
	last := len(g.dcs) - 1
	had, err := revisionOf(ctx, g, last, 0)
	if err != nil {
		return err
	}
	if err := g.dcs[last].Stop(); err != nil {
		return fmt.Errorf("stop %s: %w", g.name(last), err)
	}
	const prefix = "/catchup/"
	if _, err := write(ctx, g.dcs[0].Endpoints(), prefix, async, r.cfg.CatchUp, r.cfg.ValueBytes, jsonValue); err != nil {
		return fmt.Errorf("write while %s is down: %w", g.name(last), err)
	}
	ahead, err := revisionOf(ctx, g, 0, 0)
	if err != nil {
		return err
	}
	if g.dcs[last], err = g.start(ctx, last); err != nil {
		return err
	}
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	type outcome struct {
		row geoRow
		err error
	}
	loaded := make(chan outcome, 1)
	go func() {
		row, err := r.local(lctx, g.dcs[0], arriveTimeout)
		loaded <- outcome{row, err}
	}()
	c, err := follow(ctx, g.dcs[last].admins[0], g.name(0), ahead)
	stop()
	during := <-loaded
	if err := errors.Join(err, during.err); err != nil {
		return err
	}
	during.row.Case, during.row.Side = "put ASYNC, a datacenter catches up", g.name(0)
	r.add(during.row)
	row := geoRow{Case: "catch-up", Side: g.name(last), Keys: r.cfg.CatchUp, Seconds: c.end.Sub(c.first).Seconds(), Restart: c.end.Sub(c.began).Seconds()}
	c.from = max(c.from, had) // a node that still reads its own log has less than it had
	if c.to > c.from && row.Seconds > 0 {
		row.Replicated = float64(c.to-c.from) / row.Seconds
	} else {
		r.warn("catch-up: %s had all %d keys before it first answered; give --catch-up more", g.name(last), r.cfg.CatchUp)
	}
	r.add(row)
	return g.meet(ctx)
}

// local has clients of this process put until ctx or the time ends.
func (r *runner) local(ctx context.Context, d *geogate, during time.Duration) (geoRow, error) {
	leader, err := findLeader(ctx, d.Endpoints())
	if err != nil {
		return geoRow{}, err
	}
	m, err := bench.Run(ctx, bench.Config{
		Endpoints: targets(d.Endpoints(), leader, r.cfg.Target), Op: bench.Put, Clients: undisturbedClients,
		Duration: during, ValueBytes: r.cfg.ValueBytes, Policy: async,
	})
	if err != nil {
		return geoRow{}, err
	}
	return geoRow{Clients: undisturbedClients, Rate: m.Rate, P50: m.P50, P99: m.P99, Errors: float64(m.Errors)}, nil
}

// revisionOf is how far datacenter i has the writes of another, or its own.
func revisionOf(ctx context.Context, g *region, i, origin int) (int64, error) {
	admin, err := g.dcs[i].leaderAdmin(ctx)
	if err != nil {
		return 0, err
	}
	r, _, err := status.Fetch(ctx, admin)
	if err != nil {
		return 0, fmt.Errorf("how far is %s: %w", g.name(i), err)
	}
	return r.Vector[g.name(origin)], nil
}
