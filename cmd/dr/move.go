package dr

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/registrar"
)

// ErrNotMoved says that a move ended without the home being where it was to go.
var ErrNotMoved = errors.New("the home was not moved there")

const lookInterval = 200 * time.Millisecond

// Status asks a datacenter for its view of all homes.
func (c Client) Status(ctx context.Context) (*admin.HomesReport, error) {
	var r admin.HomesReport
	if err := c.get(ctx, "/v1/dr", nil, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Quarantine asks what all datacenters have set aside.
func (c Client) Quarantine(ctx context.Context) (*admin.QuarantineSummary, error) {
	var r admin.QuarantineSummary
	if err := c.get(ctx, "/v1/dr/quarantine/summary", nil, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Ledger asks what a failover to the endpoint's datacenter would lose.
func (c Client) Ledger(ctx context.Context, keyspace string, force bool) (*replication.Ledger, error) {
	var l replication.Ledger
	q := url.Values{"keyspace": {keyspace}, "force": {fmt.Sprint(force)}}
	if err := c.get(ctx, "/v1/dr/ledger", q, &l); err != nil {
		return nil, err
	}
	return &l, nil
}

// Switchover begins one and follows it.
func (c Client) Switchover(ctx context.Context, q replication.SwitchoverRequest, progress func(string)) (registrar.MoveStatus, error) {
	var s replication.Started
	if err := c.post(ctx, "/v1/dr/switchover", q, &s); err != nil {
		return registrar.MoveStatus{}, err
	}
	return c.follow(ctx, s, progress)
}

// Failback is a switchover to the home of the configuration.
func (c Client) Failback(ctx context.Context, keyspace string, deadline time.Duration, progress func(string)) (registrar.MoveStatus, error) {
	r, err := c.Status(ctx)
	if err != nil {
		return registrar.MoveStatus{}, err
	}
	for _, k := range r.Keyspaces {
		if k.Keyspace == keyspace {
			return c.Switchover(ctx, replication.SwitchoverRequest{Keyspace: keyspace, To: k.Configured, Deadline: deadline}, progress)
		}
	}
	return registrar.MoveStatus{}, fmt.Errorf("%s has no single-writer keyspace %q; `geogate dr status` lists them", r.DC, keyspace)
}

// Failover begins one to the endpoint's datacenter and follows it.
func (c Client) Failover(ctx context.Context, keyspace string, deadline time.Duration, progress func(string)) (registrar.MoveStatus, error) {
	var f admin.Failover
	if err := c.post(ctx, "/v1/dr/failover", admin.FailoverRequest{Keyspace: keyspace, Deadline: deadline}, &f); err != nil {
		return registrar.MoveStatus{}, err
	}
	return c.follow(ctx, f.Started, progress)
}

// Force makes the endpoint's datacenter the home without a majority. confirm must be the keyspace.
func (c Client) Force(ctx context.Context, keyspace, confirm string) (registrar.MoveStatus, error) {
	var f admin.Failover
	if err := c.post(ctx, "/v1/dr/failover", admin.FailoverRequest{Keyspace: keyspace, Force: true, Confirm: confirm}, &f); err != nil {
		return registrar.MoveStatus{}, err
	}
	return registrar.MoveStatus{Keyspace: keyspace, Kind: "forced", To: f.DC, Home: f.DC, Decided: f.Forced, Result: "moved"}, nil
}

// Abort gives up the move that the endpoint's datacenter drives.
func (c Client) Abort(ctx context.Context, keyspace string) error {
	var nothing struct{}
	return c.post(ctx, "/v1/dr/abort", map[string]string{"keyspace": keyspace}, &nothing)
}

// follow tells the progress of a move until it ends. A change of leader there hides it for a moment; what it had
// proposed goes on all the same.
func (c Client) follow(ctx context.Context, s replication.Started, progress func(string)) (registrar.MoveStatus, error) {
	last, told, lost := s.Move, "", 0
	for {
		var moves []registrar.MoveStatus
		err := c.get(ctx, "/v1/dr/moves", url.Values{"dc": {s.DC}, "keyspace": {s.Move.Keyspace}}, &moves)
		found := false
		for _, m := range moves {
			if m.ID == s.Move.ID && m.Began.Equal(s.Move.Began) {
				last, found = m, true
			}
		}
		switch {
		case last.Result == "moved":
			return last, nil
		case last.Decided > 0 && last.Home == last.To: // the others hear of it without this command
			last.Result = "moved"
			return last, nil
		case last.Result != "":
			return last, fmt.Errorf("%w: %s: %s", ErrNotMoved, outcome(last), last.Error)
		case err == nil && !found:
			return last, fmt.Errorf("%w: the node of %s that drove it does not lead any more; `geogate dr status` tells where the home is", ErrNotMoved, s.DC)
		case err != nil:
			if lost++; lost > 50 { // some 10 s
				return last, fmt.Errorf("the move has begun, and its end is not known: %w", err)
			}
		default:
			lost = 0
		}
		if text := describe(last); text != told {
			progress(text)
			told = text
		}
		select {
		case <-time.After(lookInterval):
		case <-ctx.Done():
			return last, fmt.Errorf("the move goes on without this command: %w", ctx.Err())
		}
	}
}

func describe(m registrar.MoveStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %q from %s to %s: %s", m.Kind, m.Keyspace, orNone(m.From), m.To, m.Phase)
	for _, w := range m.Waiting {
		if w.Said != "" {
			fmt.Fprintf(&b, "; %s: %s", w.DC, w.Said)
		}
	}
	for _, l := range m.Lacks {
		fmt.Fprintf(&b, "; %s has %d of %d of %s", m.To, l.Have, l.Need, l.Origin)
	}
	return b.String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
