//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"geogate/replication"
	"geogate/replication/verify"
)

const (
	differencesShown  = 5
	differencesWithin = 10 * time.Second
)

// showDifferences tells what the datacenters themselves find to be different, for who looks into a run in which they
// did not become equal.
func (s *stage) showDifferences(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, differencesWithin)
	defer cancel()
	for _, dc := range s.c.living() {
		n := s.c.leader(ctx, dc)
		peers, err := s.c.verification(ctx, n)
		if err != nil {
			s.say("      %s can't say what differs: %v", n, err)
			continue
		}
		for _, p := range peers {
			s.say("      %s and %s: %s, %d parts equal, %d pending, %d different; %d keys differ, by keyspace %v, %d of the system; %s",
				n, p.DC, p.State, p.Equal, p.Pending, p.Different, p.Keys, p.Keyspaces, p.System, p.Reason)
			for _, d := range p.Differences[:min(len(p.Differences), differencesShown)] {
				s.say("        %q: here %s, there %s", d.Here.Key, copyText(d.Here), copyText(d.There))
			}
		}
	}
}

func copyText(c verify.Copy) string {
	switch {
	case !c.Known:
		return "nothing"
	case !c.Live:
		return fmt.Sprintf("deleted by %s %d at %s", c.Origin, c.Revision, c.Stamp)
	}
	return fmt.Sprintf("value %016x of %s %d at %s", c.Hash, c.Origin, c.Revision, c.Stamp)
}

// verification is how a node that leads finds the others' data to compare with its own.
func (c *cluster) verification(ctx context.Context, n *node) ([]replication.Verification, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.spec.Admin+"/v1/verify?run=true", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Peers []replication.Verification `json:"peers"`
		Error string                     `json:"peers_error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("peers: %s", answer.Error)
	}
	return answer.Peers, nil
}
