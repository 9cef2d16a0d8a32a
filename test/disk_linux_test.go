package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"geogate/configs"
	"geogate/test/cluster"
)

const smallDiskBytes = 224 << 20 // two segments of the log of 64 MiB each, and some data

// smallDisk puts a file system of its own under a node's directory.
func smallDisk(t *testing.T, p *cluster.Process) {
	t.Helper()
	if err := os.MkdirAll(p.Spec.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", p.Spec.Dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=700", smallDiskBytes))
	if errors.Is(err, os.ErrPermission) {
		t.Skip("SKIPPED: full disks are not tested here: mounting a small file system needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if err := unix.Unmount(p.Spec.Dir, 0); err != nil {
			t.Errorf("unmount %s: %v", p.Spec.Dir, err)
		}
	})
}

// ballast fills a disk until `left` bytes are free.
func ballast(t *testing.T, dir string, left int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "ballast"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 64<<10)
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		free := int64(st.Bavail) * st.Bsize
		if free <= left {
			return
		}
		if _, err := f.Write(chunk[:min(free-left, int64(len(chunk)))]); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// lead has a node lead its datacenter.
func lead(t *testing.T, c *cluster.Cluster, p *cluster.Process) {
	t.Helper()
	c.Eventually(20*time.Second, p.Spec.Name+" to lead", func() string {
		leader := c.Leader(p.DC)
		if leader == p {
			return ""
		}
		cli, err := clientv3.New(clientv3.Config{Endpoints: []string{leader.Spec.Client}, Logger: zap.NewNop()})
		if err != nil {
			return err.Error()
		}
		defer cli.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		list, err := cli.MemberList(ctx)
		if err != nil {
			return err.Error()
		}
		for _, m := range list.Members {
			if m.Name == p.Spec.Name {
				_, err = cli.MoveLeader(ctx, m.ID)
			}
		}
		return fmt.Sprintf("%s leads: %v", leader.Spec.Name, err)
	})
}

func readyz(p *cluster.Process) (code int, text string) {
	resp, err := http.Get("http://" + p.Spec.Admin + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// TestFullDisk fills the disk of one node of three under load. Near the end of its disk a leader says so and another one
// takes over; at the end the node stops and says why; the others go on; with room again it comes back. No acknowledged
// write is missing.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	const least = 24 << 20
	c := cluster.Prepare(t, cluster.Options{Nodes: 3, DCs: allDCs[:1], Edit: func(topology *configs.Topology) {
		smallRaftTimes(topology)
		topology.Limits.MinFreeBytes = least
	}})
	for _, p := range c.Nodes("us-east") {
		if p.Spec.Name == "n0" {
			smallDisk(t, p)
		}
	}
	small := c.Node("us-east", "n0")
	for _, p := range c.Nodes("us-east") {
		p.Start()
	}
	c.WaitHealthy(30 * time.Second)
	lead(t, c, small)
	client := c.Client("us-east")
	handsOn(t, c, small, client, least)

	l := &ledger{acked: map[string]string{}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		l.load(t.Context(), &wg, client, fmt.Sprintf("full/%d", i), stop)
	}
	filled := make(chan struct{})
	go func() { // what the node frees is filled again
		defer close(filled)
		for small.Running() {
			ballast(t, small.Spec.Dir, 0)
		}
	}()
	log, err := small.WaitExit(60 * time.Second)
	<-filled
	if err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("the node ended with %v, want exit status 1", err)
	}
	for _, want := range []string{"no space left on device", "the disk of " + small.Spec.Dir + " is full: free some space and start this node again"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	before := l.count()
	c.Eventually(20*time.Second, "the others to go on", func() string {
		if n := l.count(); n < before+100 {
			return fmt.Sprintf("%d writes, %d before", n, before)
		}
		return ""
	})
	if err := os.Remove(filepath.Join(small.Spec.Dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	small.Start()
	before = l.count()
	c.Eventually(20*time.Second, "writes with the node back", func() string {
		if n := l.count(); n < before+100 {
			return fmt.Sprintf("%d writes, %d before", n, before)
		}
		return ""
	})
	close(stop)
	wg.Wait()
	c.WaitEqual(30 * time.Second)
	l.check(t, c, "full/")
}

// handsOn brings a node near the end of its disk: it says so, leads no longer, and puts go on.
func handsOn(t *testing.T, c *cluster.Cluster, small *cluster.Process, client *clientv3.Client, least int64) {
	t.Helper()
	ballast(t, small.Spec.Dir, least-(1<<20))
	c.Eventually(10*time.Second, "readyz to name the disk", func() string {
		if code, text := readyz(small); code != http.StatusServiceUnavailable || !strings.Contains(text, small.Spec.Dir) || !strings.Contains(text, "min_free_bytes") {
			return fmt.Sprint(code, text)
		}
		return ""
	})
	c.Eventually(10*time.Second, "another node to lead", func() string {
		if s, err := small.Status(t.Context()); err != nil || s.Leader == "" || s.Leader == small.Spec.Name {
			return fmt.Sprint("leader ", s, err)
		}
		return ""
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := client.Put(ctx, "k", "v"); err != nil {
		t.Errorf("put near the end of the disk of one node: %v", err)
	}
	if err := os.Remove(filepath.Join(small.Spec.Dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	c.Eventually(10*time.Second, "readyz with room again", func() string {
		if code, text := readyz(small); code != http.StatusOK {
			return fmt.Sprint(code, text)
		}
		return ""
	})
}

// TestDamagedDatabaseIsRebuilt flips bits in the database of a stopped node. It refuses with words, and with --rebuild
// gets the data of the others.
func TestDamagedDatabaseIsRebuilt(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := cluster.Start(t, cluster.Options{Nodes: 3, DCs: allDCs[:1], Edit: smallRaftTimes})
	client := c.Client("us-east")
	fill(t, client, "k", 200)
	victim := c.Leader("us-east")
	if err := victim.Stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(victim.Spec.Dir, "store", "db")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// A value, so the damage is in what is used, and each copy of it, since some are in pages that are free.
	value := []byte(big(100)[:64])
	at, bit, copies := rnd.IntN(len(value)), byte(1)<<rnd.IntN(8), 0
	for from := 0; ; copies++ {
		next := bytes.Index(data[from:], value)
		if next < 0 {
			break
		}
		data[from+next+at] ^= bit
		from += next + len(value)
	}
	if copies == 0 {
		t.Fatal("a value is not in the database")
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, client, "meanwhile", 100)
	victim.Start()
	log, err := victim.WaitExit(20 * time.Second)
	if err == nil {
		t.Error("the node ended without an error")
	}
	for _, want := range []string{path, "database is damaged", "--rebuild"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	victim.Start("--rebuild")
	c.WaitEqual(30 * time.Second)
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Errorf("the damaged file is gone: %v", err)
	}
	if err := victim.Stop(); err != nil {
		t.Fatal(err)
	}
	victim.Start("--rebuild") // with nothing to do it is as without
	c.WaitEqual(30 * time.Second)
}
