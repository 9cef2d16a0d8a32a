package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	profileClients = 64
	profileTime    = 8 * time.Second
	profileMargin  = time.Second // of load before and after
)

// profile runs 64 clients once more, outside all medians because profiling costs time, and saves the CPU
// profile of the node that leads.
func (r *runner) profile(ctx context.Context, g *geogate) error {
	admin, err := g.leaderAdmin(ctx)
	if err != nil {
		return err
	}
	cfg := *r.cfg
	cfg.Duration = profileTime + 2*profileMargin
	var m sample
	var moved bool
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		m, moved, err = measure(ctx, &cfg, g, testCase{Op: opPut, Clients: profileClients})
		return err
	})
	group.Go(func() error {
		if err := pause(ctx, profileMargin); err != nil {
			return err
		}
		url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, int(profileTime.Seconds()))
		return download(ctx, url, cfg.Profile)
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("profile of the leader: %w", err)
	}
	if moved {
		return fmt.Errorf("profile of the leader: another node leads now, so that %s shows both", cfg.Profile)
	}
	r.progress("profile at %.0f puts/s: go tool pprof -top %s %s", m.Rate, cfg.Geogate, cfg.Profile)
	return nil
}

func download(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.200q", url, resp.Status, body)
	}
	return os.WriteFile(path, body, 0o600)
}
