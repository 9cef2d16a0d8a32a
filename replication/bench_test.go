package replication

import (
	"context"
	"testing"
	"time"

	"geogate/replication/policy"
)

// BenchmarkShip measures frames of 1 KiB from commit in one DC to the ack of the other, as fast as they go.
func BenchmarkShip(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "64KiB": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			c := newCluster(b, nil, "a", "b")
			value := random(size)
			b.SetBytes(int64(size))
			b.ResetTimer()
			var last int64
			for i := range b.N {
				last = c.dcs["a"].write(b, value)
				for i%64 == 0 && last-c.dcs["b"].Position("a").Revision > 4096 {
					time.Sleep(time.Millisecond)
				}
			}
			if _, err := c.engine("a").Wait(context.Background(), last, policy.All); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkAllLatency measures one write at a time from commit to ALL, without distance.
func BenchmarkAllLatency(b *testing.B) {
	c := newCluster(b, nil, "a", "b")
	value := random(1 << 10)
	b.ResetTimer()
	for range b.N {
		rev := c.dcs["a"].write(b, value)
		if _, err := c.engine("a").Wait(context.Background(), rev, policy.All); err != nil {
			b.Fatal(err)
		}
	}
}
