package dev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"

	"geogate/configs"
)

const (
	lockName     = "lock"
	topologyName = "topology.yaml"
)

// folder is where a cluster lives; it holds the lock until it is closed.
type folder struct {
	dir  string
	lock *os.File
}

// openFolder makes the folder if need be and takes its lock. The kernel drops the lock with the process,
// however that ends.
func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the cluster: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the cluster: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another process runs the cluster in %s%s; stop it, or use another --dir", ErrLocked, dir, owner(dir))
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &folder{dir: dir, lock: f}, nil
}

// locked says whether some process holds the lock of dir.
func locked(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // which drops the lock again
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func (f *folder) close() error { return f.lock.Close() }

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// topology is the cluster's, from the file that an earlier run left and a user may have edited, or new.
func (f *folder) topology(c *Config) (*configs.Topology, error) {
	path := f.path(topologyName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := f.create(c); err != nil {
			return nil, err
		}
	}
	t, err := configs.Load(path)
	if err != nil {
		return nil, err
	}
	if err := c.matches(t, f.dir); err != nil {
		return nil, err
	}
	if moved, err := f.move(c.BasePort); err != nil || !moved {
		return t, err
	}
	return configs.Load(path)
}

// matches refuses to run a folder's cluster as something that it is not.
func (c *Config) matches(t *configs.Topology, dir string) error {
	if c.DCs != nil && !slices.Equal(c.DCs, t.Names()) {
		return fmt.Errorf("%w: asked for the datacenters %s, but %s holds a cluster of %s; leave --dcs out to resume it, or use another --dir",
			ErrConfig, strings.Join(c.DCs, ","), dir, strings.Join(t.Names(), ","))
	}
	for _, d := range t.Datacenters {
		if c.Nodes != 0 && len(d.Nodes) != c.Nodes {
			return fmt.Errorf("%w: asked for %d nodes in each datacenter, but %s in %s has %d; leave --nodes out to resume it, or use another --dir",
				ErrConfig, c.Nodes, d.Name, dir, len(d.Nodes))
		}
	}
	return nil
}

// create writes keys and the topology, which comes last and whole: a folder without it is empty.
func (f *folder) create(c *Config) error {
	dcs, nodes, port := c.DCs, c.Nodes, c.BasePort
	if dcs == nil {
		dcs = DefaultDCs()
	}
	if nodes == 0 {
		nodes = DefaultNodes
	}
	if port == 0 {
		port = DefaultBasePort
	}
	t, err := layout(dcs, nodes, port, func(string) (string, error) { return "", nil })
	if err != nil {
		return err
	}
	if err := checkNew(t); err != nil { // before any name becomes a path
		return err
	}
	t, err = layout(dcs, nodes, port, func(dc string) (string, error) {
		path := f.path(keyFile(dc))
		public, err := configs.NewKey(path)
		if errors.Is(err, fs.ErrExist) { // left by a start that was interrupted
			return configs.PublicKey(path)
		}
		return public, err
	})
	if err != nil {
		return fmt.Errorf("make the keys of the cluster: %w", err)
	}
	return f.write(t)
}

// checkNew finds what is wrong with the wishes for a new cluster, keys aside.
func checkNew(t *configs.Topology) error {
	err := t.Validate()
	var problems configs.Problems
	if !errors.As(err, &problems) {
		return err
	}
	problems = slices.DeleteFunc(problems, func(p configs.Problem) bool { return strings.HasSuffix(p.Key, ".public_key") })
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrConfig, problems)
}

// move gives the nodes of an existing cluster other ports, if any are asked for. The file is read as it
// is, without what the environment overrides, because it is written again.
func (f *folder) move(basePort int) (moved bool, err error) {
	if basePort == 0 {
		return false, nil
	}
	before, err := os.ReadFile(f.path(topologyName))
	if err != nil {
		return false, fmt.Errorf("read the topology of the cluster: %w", err)
	}
	t := configs.Default()
	if err := yaml.Unmarshal(before, t); err != nil {
		return false, fmt.Errorf("read the topology of the cluster: %w", err)
	}
	client := t.Datacenters[0].Nodes[0].Client
	assign(t, basePort)
	if t.Datacenters[0].Nodes[0].Client == client {
		return false, nil
	}
	return true, f.write(t)
}

func (f *folder) write(t *configs.Topology) error {
	data, err := t.Encode()
	if err != nil {
		return err
	}
	return writeFile(f.path(topologyName), data)
}

// writeFile replaces a file as a whole.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
