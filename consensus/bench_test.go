package consensus

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/wal"
)

// BenchmarkGroupCommit measures three nodes in one process on one disk, each with its own log and fsync, and a
// number of writers that each wait for their write.
func BenchmarkGroupCommit(b *testing.B) {
	for _, writers := range []int{1, 64, 256, 2048} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { benchmarkWrites(b, writers, 1024) })
	}
}

// bulkGroup is a group of nodes that is as fast as it can be, and its leader with the machine to write to.
func bulkGroup(b testing.TB, nodes, size int) (*site, *bulk) {
	b.Helper()
	small := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = 64 * 1000 * 1000
	b.Cleanup(func() { wal.SegmentSizeBytes = small })
	g := &group{t: b, log: quiet(), cut: make(map[[2]uint64]bool)}
	for i := range nodes {
		g.sites = append(g.sites, &site{id: uint64(i + 1), dir: filepath.Join(b.TempDir(), "node"), disk: &disk{}, addr: freeAddr(b)})
	}
	machines := make(map[uint64]*bulk)
	g.tune = func(c *Config) {
		c.TickInterval = 100 * time.Millisecond
		machine := &bulk{app: c.StateMachine.(*app), value: make([]byte, size)}
		machines[c.NodeID] = machine
		c.StateMachine, c.Batcher, c.Link = machine, machine, nil
	}
	for _, s := range g.sites {
		g.start(s)
	}
	b.Cleanup(func() {
		for _, s := range g.sites {
			g.stop(s)
		}
	})
	leader := g.leader()
	return leader, machines[leader.id]
}

func benchmarkWrites(b *testing.B, writers, size int) {
	leader, machine := bulkGroup(b, 3, size)
	first := leader.node.Status().LastIndex
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < b.N; i += writers {
				machine.write()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	seconds := b.Elapsed().Seconds()
	b.ReportMetric(float64(b.N)/seconds, "writes/s")
	b.ReportMetric(float64(leader.node.Status().LastIndex-first)/seconds, "entries/s")
}

// bulk is the smallest batcher and state machine: writers wait for the entry that their write is packed into.
type bulk struct {
	*app
	mu      sync.Mutex
	waiting []chan struct{}
	value   []byte
	entries [][]chan struct{} // in flight, in order
}

func (b *bulk) write() {
	done := make(chan struct{})
	b.mu.Lock()
	b.waiting = append(b.waiting, done)
	b.mu.Unlock()
	signal(b.waitingC)
	<-done
}

func (b *bulk) Take(limit int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), limit/len(b.value))
	if n == 0 {
		return nil
	}
	b.entries = append(b.entries, b.waiting[:n:n])
	b.waiting = b.waiting[n:]
	return bytes.Repeat(b.value, n)
}

func (b *bulk) Dropped([]byte, error) { b.t.Error("an entry was dropped") }

func (b *bulk) Apply(entries []Entry) error {
	b.mu.Lock()
	for _, e := range entries {
		if len(e.Data) > 0 && len(b.entries) > 0 { // only the leader has any
			for _, done := range b.entries[0] {
				close(done)
			}
			b.entries = b.entries[1:]
		}
	}
	b.mu.Unlock()
	last := entries[len(entries)-1]
	b.app.mu.Lock()
	defer b.app.mu.Unlock()
	b.takeConfLocked()
	b.app.entries = []Entry{{Index: last.Index, Term: last.Term}}
	b.disk.mu.Lock()
	defer b.disk.mu.Unlock()
	b.disk.applied = Applied{Index: last.Index, Term: last.Term, ConfState: b.conf}
	return nil
}
