package etcdbin

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func TestThreeMembersAreOneCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts a real etcd")
	}
	c := New(t, 3)
	if len(c.Endpoints()) != 3 || len(c.PIDs()) != 3 {
		t.Fatalf("endpoints %v, pids %v, want three of each", c.Endpoints(), c.PIDs())
	}
	for i, e := range c.Endpoints() {
		cl, err := clientv3.New(clientv3.Config{Endpoints: []string{e}, Logger: zap.NewNop(), DialTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cl.Close() })
		if _, err := cl.Put(t.Context(), fmt.Sprint(i), "v"); err != nil {
			t.Fatalf("put at %s: %v", e, err)
		}
		got, err := cl.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || got.Count != int64(i+1) {
			t.Fatalf("at %s: count %v, err %v, want %d keys", e, got, err, i+1)
		}
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range c.PIDs() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("member %d after Stop: %v, want no such process", pid, err)
		}
	}
}

func TestPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the programs")
	}
	for name, path := range map[string]func(context.Context) (string, error){"etcd": Etcd, "etcdctl": Etcdctl, "nats-server": NATSServer} {
		t.Run(name, func(t *testing.T) {
			p, err := path(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			v, err := Version(p)
			if err != nil {
				t.Fatal(err)
			}
			arg := "--version"
			if name == "etcdctl" {
				arg = "version"
			}
			out, err := exec.CommandContext(t.Context(), p, arg).CombinedOutput()
			if err != nil || !strings.Contains(string(out), strings.TrimPrefix(v, "v")) {
				t.Errorf("%s %s says %q (%v), want version %s", p, arg, out, err, v)
			}
		})
	}
}

func TestClusterThatCannotStart(t *testing.T) {
	_, err := Start(t.Context(), Config{Path: "sh", Dir: t.TempDir(), Members: 2})
	if !errors.Is(err, ErrConfig) {
		t.Errorf("two members: %v, want ErrConfig", err)
	}
	// A server that refuses its arguments ends at once; the error shows what it said.
	_, err = Start(t.Context(), Config{Path: "ls", Dir: t.TempDir(), Members: 1})
	if err == nil || !strings.Contains(err.Error(), "etcd-0") || !strings.Contains(err.Error(), "option") {
		t.Errorf("a program that is no etcd: %v, want its name and its log", err)
	}
}
