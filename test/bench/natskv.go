package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"geogate/test/etcdbin"
	"geogate/test/etcdbin/process"
)

// natsServers is the only number of servers that is measured: R3.
const natsServers = 3

const (
	natsBucket       = "bench"
	natsReadyTimeout = time.Minute
)

// natsKV is a key-value bucket of JetStream on three servers whose Raft logs are fsynced before
// a write is answered, as those of etcd and geogate are.
// Its clients speak NATS: it has no gRPC, no transactions, no leases and no revision across keys.
type natsKV struct {
	servers []*process.Process
	urls    []string
}

func startNATS(ctx context.Context, dir string) (*natsKV, error) {
	path, err := etcdbin.NATSServer(ctx)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		n, err := tryNATS(ctx, path, filepath.Join(dir, fmt.Sprintf("nats-try%d", try)))
		if !errors.Is(err, process.ErrAddress) || try == startTries {
			return n, err
		}
	}
}

func tryNATS(ctx context.Context, path, dir string) (_ *natsKV, err error) {
	ports, err := process.Ports(2 * natsServers)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for NATS: %w", err)
	}
	n := &natsKV{}
	defer func() {
		if err != nil {
			_ = n.Stop() // err says why
		}
	}()
	for i := range natsServers {
		file := filepath.Join(dir, fmt.Sprintf("n%d.conf", i))
		if err := os.WriteFile(file, []byte(natsConfig(dir, ports, i)), 0o600); err != nil {
			return nil, fmt.Errorf("write NATS' configuration: %w", err)
		}
		p, err := process.Start(ctx, process.Config{
			Name: fmt.Sprintf("nats-server n%d", i), Path: path, Args: []string{"-c", file}, Log: filepath.Join(dir, fmt.Sprintf("n%d.log", i)),
		})
		if err != nil {
			return nil, err
		}
		n.servers = append(n.servers, p)
		n.urls = append(n.urls, "nats://"+address(ports[2*i]))
	}
	ctx, cancel := context.WithTimeout(ctx, natsReadyTimeout)
	defer cancel()
	for i, p := range n.servers {
		if err := p.WaitReady(ctx, n.ready(i)); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// natsConfig is the file of server i, whose client port is ports[2i] and whose route port is the next.
func natsConfig(dir string, ports []int, i int) string {
	routes := make([]string, natsServers)
	for j := range routes {
		routes[j] = strconv.Quote("nats://" + address(ports[2*j+1]))
	}
	return fmt.Sprintf("server_name: n%d\nlisten: %q\njetstream { store_dir: %q, sync_interval: always }\ncluster { name: bench, listen: %q, routes: [%s] }\n",
		i, address(ports[2*i]), filepath.Join(dir, fmt.Sprintf("n%d", i)), address(ports[2*i+1]), strings.Join(routes, ", "))
}

// ready says whether server i serves the bucket, which it makes if need be.
func (n *natsKV) ready(i int) func(context.Context) error {
	return func(ctx context.Context) error {
		// A cluster without a leader leaves requests unanswered.
		ctx, cancel := context.WithTimeout(ctx, statusTimeout)
		defer cancel()
		conn, err := nats.Connect(n.urls[i])
		if err != nil {
			return err
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			return err
		}
		kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: natsBucket, Replicas: natsServers, Storage: jetstream.FileStorage})
		if err != nil {
			return err
		}
		_, err = kv.PutString(ctx, "ready", "yes")
		return err
	}
}

// command is the load generator of a case.
func (n *natsKV) command(cfg *Config, c testCase) (program string, args []string) {
	args = []string{natsLoad, "--servers", strings.Join(n.urls, ","), "--clients", strconv.Itoa(c.Clients), "--value-bytes", strconv.Itoa(cfg.ValueBytes)}
	if c.Total > 0 {
		return cfg.Self, append(args, "--total", strconv.Itoa(c.Total))
	}
	return cfg.Self, append(args, "--duration", cfg.Duration.String())
}

// Endpoints are the servers' client addresses.
func (n *natsKV) Endpoints() []string { return n.urls }

// PIDs are the servers' processes.
func (n *natsKV) PIDs() []int {
	out := make([]int, len(n.servers))
	for i, s := range n.servers {
		out[i] = s.PID()
	}
	return out
}

// Stop stops the servers. One that is told to end ends with status 1, which says nothing here.
func (n *natsKV) Stop() error {
	err := process.StopAll(n.servers)
	if errors.Is(err, process.ErrKilled) {
		return err
	}
	return nil
}

func natsVersion(ctx context.Context) (string, error) {
	path, err := etcdbin.NATSServer(ctx)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("version of nats-server: %w", err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), "nats-server:")), nil
}
