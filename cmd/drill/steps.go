package drill

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"geogate/cmd/dev"
	"geogate/cmd/dr"
	"geogate/cmd/verify"
	"geogate/replication"
)

// step does one.
func (d *drill) step(ctx context.Context, s *Step) error {
	switch s.kind() {
	case "wait":
		select {
		case <-time.After(s.Wait):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case "wait_for":
		return d.waitFor(ctx, s.WaitFor)
	case "switchover":
		return d.switchover(ctx, s.Switchover.To)
	case "failover":
		return d.failover(ctx, s.Failover.To)
	case "stop":
		return d.fell(ctx, s, s.Stop, dev.Stop)
	case "kill":
		return d.fell(ctx, s, s.Kill, dev.Kill)
	case "start":
		return d.start(ctx, s.Start)
	case "cut":
		return d.cut(ctx, s)
	case "link":
		d.book.begin(&fault{what: s.String(), at: time.Now()})
		_, err := d.cfg.Faults.Link(ctx, s.Link.A, s.Link.B, s.Link.words())
		return err
	case "heal":
		return d.heal(ctx)
	case "verify":
		return d.verify(ctx)
	}
	return fmt.Errorf("%w: %q", ErrScenario, s.kind()) // check has refused it
}

// fell takes a datacenter down.
func (d *drill) fell(ctx context.Context, s *Step, dc string, how dev.Action) error {
	now := time.Now()
	d.book.begin(&fault{what: s.String(), at: now, sees: func(observer, subject string) bool { return observer != dc && subject == dc }})
	d.book.excuse(dc, now)
	d.down[dc] = true
	if _, err := d.cfg.Faults.Do(ctx, dc, how); err != nil {
		return err
	}
	d.atRisk(ctx, dc)
	return nil
}

func (d *drill) start(ctx context.Context, dc string) error {
	if _, err := d.cfg.Faults.Do(ctx, dc, dev.Start); err != nil {
		return err
	}
	delete(d.down, dc)
	d.book.resume(dc)
	return nil
}

func (d *drill) cut(ctx context.Context, s *Step) error {
	a, b := s.Cut.A, s.Cut.B
	d.book.begin(&fault{what: s.String(), at: time.Now(), sees: func(observer, subject string) bool {
		return observer == a && subject == b || observer == b && subject == a
	}})
	if _, err := d.cfg.Faults.Link(ctx, a, b, []string{"cut"}); err != nil {
		return err
	}
	d.atRisk(ctx, a)
	d.atRisk(ctx, b)
	return nil
}

// atRisk marks the writes of a datacenter that no other one has applied at this moment.
func (d *drill) atRisk(ctx context.Context, dc string) {
	confirmed := int64(0)
	for _, s := range d.sites {
		if s.name == dc || d.down[s.name] {
			continue
		}
		if r, err := s.report(ctx); err == nil {
			confirmed = max(confirmed, r.Vector[dc])
		}
	}
	d.book.risk(dc, confirmed)
}

// heal brings every link to what it was before the drill.
func (d *drill) heal(ctx context.Context) error {
	now, err := d.cfg.Faults.State(ctx)
	if err != nil {
		return err
	}
	for _, was := range d.before.Links {
		i := slices.IndexFunc(now.Links, func(l dev.LinkState) bool { return l.A == was.A && l.B == was.B })
		if i < 0 || now.Links[i] == was {
			continue
		}
		words := []string{"heal", "rtt=" + (time.Duration(was.RTTMillis) * time.Millisecond).String(), "bandwidth=" + strconv.FormatInt(was.Bandwidth, 10)}
		if was.Cut {
			words[0] = "cut"
		}
		if _, err := d.cfg.Faults.Link(ctx, was.A, was.B, words); err != nil {
			return err
		}
	}
	return nil
}

func (d *drill) switchover(ctx context.Context, to string) error {
	d.book.begin(&fault{what: "switchover to " + to, at: time.Now()})
	d.moved = true
	c, err := d.admin(ctx, "")
	if err != nil {
		return err
	}
	q := replication.SwitchoverRequest{Keyspace: d.keyspace.Prefix, To: to, Deadline: d.scenario.StepLimit}
	_, err = c.Switchover(ctx, q, func(text string) { d.watch.note("%s", text) })
	return err
}

func (d *drill) failover(ctx context.Context, to string) error {
	d.book.begin(&fault{what: "failover to " + to, at: time.Now()})
	d.moved = true
	c, err := d.admin(ctx, to)
	if err != nil {
		return err
	}
	_, err = c.Failover(ctx, d.keyspace.Prefix, d.scenario.StepLimit, func(text string) { d.watch.note("%s", text) })
	return err
}

// admin is a node of a datacenter that answers; of any one for "".
func (d *drill) admin(ctx context.Context, dc string) (dr.Client, error) {
	var last error
	for _, s := range d.sites {
		if dc != "" && s.name != dc || d.down[s.name] {
			continue
		}
		address, err := s.admin(ctx)
		if err == nil {
			return dr.Client{Endpoint: address}, nil
		}
		last = err
	}
	if last == nil {
		last = fmt.Errorf("%s is down", dc)
	}
	return dr.Client{}, last
}

// verify proves the running datacenters' data to be equal.
func (d *drill) verify(ctx context.Context) error {
	c := verify.Config{Timeout: d.scenario.StepLimit}
	for _, s := range d.sites {
		if d.down[s.name] {
			continue
		}
		address, err := s.admin(ctx)
		if err != nil {
			return err
		}
		c.Endpoints = append(c.Endpoints, address)
	}
	_, err := verify.Run(ctx, c)
	return err
}
