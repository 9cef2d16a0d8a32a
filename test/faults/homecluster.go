//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"geogate/configs"
	"geogate/gateway/admin"
	"geogate/replication"
)

// homePrefix is the keyspace that has a home: the first datacenter, to begin with.
const homePrefix = "/home/"

// withHome makes the keyspace. The limits are the defaults: nobody who was away may need a full copy.
func withHome(automatic bool) func(*configs.Topology) {
	return func(t *configs.Topology) {
		t.Limits = configs.Default().Limits
		t.Keyspaces = append(t.Keyspaces, homeKeyspace(automatic))
	}
}

// withSmallHome makes it, and leaves the limits as they are. Two datacenters can't tell by themselves which of them is
// gone.
func withSmallHome(t *configs.Topology) {
	t.Keyspaces = append(t.Keyspaces, homeKeyspace(len(t.Datacenters) > 2))
}

func homeKeyspace(automatic bool) configs.Keyspace {
	return configs.Keyspace{
		Prefix: homePrefix, Mode: configs.SingleWriter, Home: dcNames[0], Policy: "QUORUM", Timeout: policyTimeout,
		AutomaticFailover: configs.AutomaticFailover{Enabled: automatic, HoldOff: time.Second},
	}
}

// ask reads a page of a node's admin port.
func (c *cluster) ask(ctx context.Context, n *node, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.spec.Admin+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: %s", n, path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// homeAt is the keyspace as a datacenter's leader knows it.
func (c *cluster) homeAt(ctx context.Context, dc string) (replication.HomeStatus, error) {
	var r admin.HomesReport
	if err := c.ask(ctx, c.leader(ctx, dc), "/v1/dr", &r); err != nil {
		return replication.HomeStatus{}, err
	}
	for _, k := range r.Keyspaces {
		if k.Keyspace == homePrefix {
			return k, nil
		}
	}
	return replication.HomeStatus{}, fmt.Errorf("%s does not know the keyspace %q", dc, homePrefix)
}

// waitHome waits until a datacenter is home, in an epoch above one, and takes writes.
func (c *cluster) waitHome(ctx context.Context, dc string, above uint64, within time.Duration) (uint64, error) {
	deadline := time.Now().Add(within)
	for {
		s, err := c.homeAt(ctx, dc)
		if err == nil && s.Open && s.Epoch > above {
			return s.Epoch, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%w: %s did not become home above epoch %d within %s: %+v, %v", errNotMet, dc, above, within, s, err)
		}
		pauseFor(ctx, 50*time.Millisecond)
	}
}

// home is the datacenter that takes writes, as it says itself; empty when none of those asked does.
func (c *cluster) home(ctx context.Context, dcs ...string) (dc string, epoch uint64) {
	for _, d := range dcs {
		if s, err := c.homeAt(ctx, d); err == nil && s.Open && s.Epoch > epoch {
			dc, epoch = d, s.Epoch
		}
	}
	return dc, epoch
}

// waitAnyHome waits until one of some datacenters takes writes in an epoch above one.
func (c *cluster) waitAnyHome(ctx context.Context, above uint64, within time.Duration, dcs ...string) (string, uint64, error) {
	deadline := time.Now().Add(within)
	for ctx.Err() == nil {
		if dc, epoch := c.home(ctx, dcs...); epoch > above {
			return dc, epoch, nil
		}
		if time.Now().After(deadline) {
			return "", 0, fmt.Errorf("%w: none of %v takes writes of %s above epoch %d after %s", errNotMet, dcs, homePrefix, above, within)
		}
		pauseFor(ctx, 50*time.Millisecond)
	}
	return "", 0, ctx.Err()
}

// dr runs `geogate dr` beside a node, as an operator does, and returns all it prints.
func (c *cluster) dr(ctx context.Context, n *node, args ...string) (string, error) {
	args = append(append([]string{"dr"}, args...), "--endpoint", n.spec.Admin)
	cmd := exec.CommandContext(ctx, n.args[0], args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.site.Start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return strings.TrimSpace(out.String()), err
}

// show prints what an operator sees at a datacenter.
func (s *stage) show(ctx context.Context, dc string) {
	out, err := s.c.dr(ctx, s.c.leader(ctx, dc), "status")
	if err != nil {
		out += "\n" + err.Error()
	}
	for line := range strings.Lines(out) {
		s.say("  %s | %s", dc, strings.TrimRight(line, "\n"))
	}
}

// logLine is the first line of a datacenter's logs behind a moment that has some words, and its time.
func (c *cluster) logLine(dc string, after time.Time, words ...string) (first time.Time, text string) {
	for _, n := range c.in(dc) {
	lines:
		for line := range strings.Lines(whole(n.log)) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			_, rest, _ := strings.Cut(line, "time=")
			stamp, _, _ := strings.Cut(rest, " ")
			at, err := time.Parse(time.RFC3339Nano, stamp)
			if err == nil && at.After(after) && (first.IsZero() || at.Before(first)) {
				first, text = at, strings.TrimSpace(line)
			}
		}
	}
	return first, text
}

// quarantine is what a datacenter has set aside.
func (c *cluster) quarantine(ctx context.Context, dc string) (out []admin.AsideWrite, err error) {
	after := uint64(0)
	for {
		var page admin.QuarantineReport
		path := fmt.Sprintf("/v1/dr/quarantine?keyspace=%s&after=%d&limit=1000", homePrefix, after)
		if err := c.ask(ctx, c.leader(ctx, dc), path, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Writes...)
		if !page.More || len(page.Writes) == 0 {
			return out, nil
		}
		after = page.Writes[len(page.Writes)-1].ID
	}
}

func (c *cluster) killAll(dc string) {
	for _, n := range c.in(dc) {
		n.kill()
	}
}
