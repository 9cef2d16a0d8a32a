package replication

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// logged keeps what was logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) has(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.text.Bytes(), []byte(words))
}

// TestDeadConnectionIsDialedAnew strands a connection on a link that is fine. Waiting for answers on it would
// take until the request times out, which is for ever here, or until the server gives the connection up.
func TestDeadConnectionIsDialedAnew(t *testing.T) {
	var said logged
	c := newCluster(t, func(cfg *Config) {
		cfg.RequestTimeout, cfg.StallAfter = 5*time.Minute, 5*time.Minute
		cfg.Logger = slog.New(slog.NewTextHandler(&said, nil))
	}, "a", "b")
	c.healthy(20 * time.Second)
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	m := c.dcs["b"]
	eventually(t, 20*time.Second, "flow", func() bool { return m.Position("a").Revision > 20 })
	c.links["a"]["n1"].strand()
	eventually(t, 20*time.Second, "b dials because it hears nothing", func() bool {
		return said.has(`origin=a state=connecting reason="` + errHeartbeat.Error())
	})
	before := m.Position("a").Revision
	eventually(t, 20*time.Second, "flow on another connection", func() bool { return m.Position("a").Revision > before })
	stop()
	c.settle(20 * time.Second)
}

// TestLargeFrameOnASlowLink sends frames of which each message takes longer than two heartbeats, and than the
// time after which a pull counts as stalled.
func TestLargeFrameOnASlowLink(t *testing.T) {
	c := newCluster(t, func(cfg *Config) {
		cfg.PullHeartbeat, cfg.StallAfter, cfg.PartBytes = 100*time.Millisecond, 400*time.Millisecond, 128<<10
	}, "a", "b")
	c.healthy(10 * time.Second)
	c.links["a"]["n1"].throttle(128 << 10) // a message a second
	value := make([]byte, 300<<10)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(value) // never fails
	for range 2 {
		c.dcs["a"].write(t, value)
	}
	c.settle(30 * time.Second)
}
