package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"geogate/test/etcdbin"
)

// etcdQuota only lifts the bound at which etcd refuses writes; a long run of a fast machine could reach the
// default of 2 GiB.
const etcdQuota = "--quota-backend-bytes=8589934592"

// startEtcd starts the real etcd with its default settings, fsync among them.
func startEtcd(ctx context.Context, dir string, members int) (server, error) {
	path, err := etcdbin.Etcd(ctx)
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, fmt.Sprintf("etcd-of-%d", members))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for etcd: %w", err)
	}
	return etcdbin.Start(ctx, etcdbin.Config{Path: path, Dir: dir, Members: members, Args: []string{etcdQuota}})
}
