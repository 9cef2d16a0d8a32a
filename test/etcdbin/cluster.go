package etcdbin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"geogate/test/etcdbin/process"
)

const (
	// startTries bounds how often ports are chosen anew because somebody took one in between.
	startTries    = 3
	healthTimeout = time.Minute
)

// Cluster is a running etcd.
type Cluster struct {
	members   []*process.Process
	endpoints []string
}

// Start starts a cluster and waits until each member answers a linearizable read. It runs until Stop or
// until ctx ends.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		c, err := start(ctx, &cfg, try)
		if !errors.Is(err, process.ErrAddress) || try == startTries {
			return c, err
		}
	}
}

func start(ctx context.Context, cfg *Config, try int) (*Cluster, error) {
	ports, err := process.Ports(2 * cfg.Members)
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	for i := range cfg.Members {
		name := fmt.Sprintf("etcd-%d", i)
		dir := filepath.Join(cfg.Dir, fmt.Sprintf("%s-try%d", name, try))
		p, err := process.Start(ctx, process.Config{
			Name: name, Path: cfg.Path, Args: memberArgs(cfg, ports, i, dir), Log: dir + ".log",
		})
		if err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		c.members = append(c.members, p)
		c.endpoints = append(c.endpoints, address(ports[2*i]))
	}
	if err := c.wait(ctx); err != nil {
		_ = c.Stop() // err says why
		return nil, err
	}
	return c, nil
}

// wait returns when every member serves linearizable reads, which takes a leader.
func (c *Cluster) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	for i, m := range c.members {
		if err := m.WaitReady(ctx, process.Answers200("http://"+c.endpoints[i]+"/health")); err != nil {
			return err
		}
	}
	return nil
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// memberArgs are the arguments of member i, whose client port is ports[2i] and whose peer port is the next.
func memberArgs(cfg *Config, ports []int, i int, dir string) []string {
	all := make([]string, cfg.Members)
	for j := range all {
		all[j] = fmt.Sprintf("etcd-%d=http://%s", j, address(ports[2*j+1]))
	}
	client, peer := "http://"+address(ports[2*i]), "http://"+address(ports[2*i+1])
	args := []string{
		"--name=" + fmt.Sprintf("etcd-%d", i), "--data-dir=" + dir,
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=" + strings.Join(all, ","), "--initial-cluster-state=new",
	}
	return append(args, cfg.Args...)
}

// Endpoints are the members' client addresses, host:port.
func (c *Cluster) Endpoints() []string { return append([]string(nil), c.endpoints...) }

// PIDs are the members' processes, in the order of Endpoints.
func (c *Cluster) PIDs() []int {
	out := make([]int, len(c.members))
	for i, m := range c.members {
		out[i] = m.PID()
	}
	return out
}

// Stop stops all members and waits until they are gone. It may be called more than once. The data stays.
// Members go one after the other: told at the same time, the leader would spend seconds on handing over to
// one that is leaving too.
func (c *Cluster) Stop() error {
	var errs []error
	for _, m := range c.members {
		errs = append(errs, m.Stop())
	}
	return errors.Join(errs...)
}
