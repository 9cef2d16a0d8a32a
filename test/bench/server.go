package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"geogate/test/etcdbin/process"
)

// server is one side: everything that answers its clients. It runs until Stop.
type server interface {
	// Endpoints are its client addresses.
	Endpoints() []string
	// PIDs are all its processes.
	PIDs() []int
	Stop() error
}

// usage is what all processes of a side have used so far.
func usage(s server) (process.Usage, error) {
	var sum process.Usage
	for _, pid := range s.PIDs() {
		u, err := process.UsageOf(pid)
		if err != nil {
			return sum, err
		}
		sum.CPUSeconds += u.CPUSeconds
		sum.RSSBytes += u.RSSBytes
		sum.PeakRSSBytes += u.PeakRSSBytes
	}
	return sum, nil
}

const statusTimeout = 5 * time.Second

// findLeader is the index of the endpoint that says of itself that it leads, by etcd's own API on every side.
func findLeader(ctx context.Context, endpoints []string) (int, error) {
	if len(endpoints) == 1 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	cl, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: statusTimeout})
	if err != nil {
		return 0, fmt.Errorf("look for the leader: %w", err)
	}
	defer func() { _ = cl.Close() }() // only asked
	for i, e := range endpoints {
		st, err := cl.Status(ctx, e)
		if err != nil {
			return 0, fmt.Errorf("look for the leader: status of %s: %w", e, err)
		}
		if st.Leader != 0 && st.Leader == st.Header.GetMemberId() {
			return i, nil
		}
	}
	return 0, fmt.Errorf("look for the leader: none of %v says that it leads", endpoints)
}

// targets are the endpoints that clients get: the leader first, because a single client uses the first.
func targets(endpoints []string, leader int, target string) []string {
	if target == targetLeader {
		return []string{endpoints[leader]}
	}
	out := make([]string, 0, len(endpoints))
	for i := range endpoints {
		out = append(out, endpoints[(leader+i)%len(endpoints)])
	}
	return out
}
