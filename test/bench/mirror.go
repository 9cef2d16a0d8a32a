package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"geogate/test/etcdbin"
	"geogate/test/etcdbin/process"
)

// mirror is etcd's own way to another datacenter: two clusters, and `etcdctl make-mirror` from one to the other.
type mirror struct {
	from, to *etcdbin.Cluster
	copier   *process.Process
}

func startMirror(ctx context.Context, dir string, members int) (_ *mirror, err error) {
	path, err := etcdbin.Etcd(ctx)
	if err != nil {
		return nil, err
	}
	ctl, err := etcdbin.Etcdctl(ctx)
	if err != nil {
		return nil, err
	}
	m := &mirror{}
	defer func() {
		if err != nil {
			_ = m.Stop() // err says why
		}
	}()
	for name, cluster := range map[string]**etcdbin.Cluster{"from": &m.from, "to": &m.to} {
		data := filepath.Join(dir, "mirror-"+name)
		if err := os.MkdirAll(data, 0o700); err != nil {
			return nil, fmt.Errorf("make a folder for etcd: %w", err)
		}
		if *cluster, err = etcdbin.Start(ctx, etcdbin.Config{Path: path, Dir: data, Members: members, Args: []string{etcdQuota}}); err != nil {
			return nil, err
		}
	}
	m.copier, err = process.Start(ctx, process.Config{
		Name: "etcdctl make-mirror", Path: ctl, Log: filepath.Join(dir, "make-mirror.log"),
		Args: []string{"make-mirror", "--endpoints=" + endpointList(m.from.Endpoints()), m.to.Endpoints()[0]},
	})
	return m, err
}

// Stop stops the copier and both clusters.
func (m *mirror) Stop() error {
	var errs []error
	if m.copier != nil {
		errs = append(errs, m.copier.Stop())
	}
	for _, c := range []*etcdbin.Cluster{m.from, m.to} {
		if c != nil {
			errs = append(errs, c.Stop())
		}
	}
	return errors.Join(errs...)
}
