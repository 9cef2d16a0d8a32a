package replication

import (
	"fmt"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// TestAcksOfAWaveAreNotSpaced has no time in it: an ack that has to wait for its turn waits for an hour.
func TestAcksOfAWaveAreNotSpaced(t *testing.T) {
	const burst = 4
	c := newCluster(t, func(cfg *Config) {
		cfg.AckMinInterval, cfg.AckBurst, cfg.HeartbeatInterval = time.Hour, burst, time.Hour
		cfg.Health.SuspectAfter, cfg.Health.DownAfter = 3*time.Hour, 4*time.Hour
		cfg.Health.StallAfter, cfg.Health.StallDownAfter = 3*time.Hour, 4*time.Hour
		cfg.PullHeartbeat, cfg.PullExpiry, cfg.StallAfter = time.Minute, 4*time.Minute, time.Minute // one link, however busy the machine
	}, "a", "b")
	tracker := c.engine("a").current.Load().tracker
	eventually(t, 20*time.Second, "the first ack, as the link begins", func() bool {
		_, known := tracker.Acked("b")
		return known
	})
	var last int64
	for i := range burst {
		last = c.dcs["a"].write(t, []byte("v"))
		eventually(t, 20*time.Second, fmt.Sprintf("ack %d of %d", i+1, burst), func() bool {
			acked, _ := tracker.Acked("b")
			return acked == last
		})
	}
	for range burst {
		c.dcs["a"].write(t, []byte("v"))
	}
	c.settle(20 * time.Second)
	if acked, _ := tracker.Acked("b"); acked != last {
		t.Errorf("b has confirmed %d, want %d: nothing behind the wave before the hour is over", acked, last)
	}
	var m dto.Metric
	if err := c.engine("b").metrics.acksSent.WithLabelValues("a").Write(&m); err != nil {
		t.Fatal(err)
	}
	if sent := m.GetCounter().GetValue(); sent != 1+burst {
		t.Errorf("%v acks sent, want the first and %d", sent, burst)
	}
}
