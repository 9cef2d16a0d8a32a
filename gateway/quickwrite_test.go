package gateway

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestOutcomeIsLate: a write that has no outcome in time is answered with what is known of it, by the leader and by a node whose
// leader is silent, and is not made if it can be helped.
func TestOutcomeIsLate(t *testing.T) {
	for _, c := range []struct {
		name           string
		node           int
		leader, others time.Duration
		want           error
		abandoned      int64
	}{
		{"at the leader", 0, 50 * time.Millisecond, time.Minute, rpctypes.ErrTimeout, 1},
		{"at the leader, for another node", 1, 50 * time.Millisecond, time.Minute, rpctypes.ErrTimeout, 1},
		{"elsewhere", 1, time.Minute, 250 * time.Millisecond, rpctypes.ErrTimeoutDueToConnectionLost, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, 2, func(cfg *Config) {
				cfg.Keyspaces = []Keyspace{{Timeout: 10 * time.Millisecond}}
				if cfg.RequestTimeout = c.others; cfg.MemberID == 1 {
					cfg.RequestTimeout = c.leader
				}
			})
			_, err := s.kv(c.node).Put(testContext(t), &pb.PutRequest{Key: []byte(lostKey)})
			if !errors.Is(rpctypes.Error(err), c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			eventually(t, "the write to be abandoned", func() bool { return s.data.abandoned.Load() == c.abandoned })
		})
	}
}

// TestClientLeavesAWrite: what its client does not wait for any more is not waited for here either, nor at the leader.
func TestClientLeavesAWrite(t *testing.T) {
	s := newSite(t, 2, nil)
	left := int64(0)
	for node := range 2 {
		for _, md := range [][]string{nil, {metaPolicy, "ASYNC"}, {metaPolicy, "ALL", metaTimeout, "9s"}} {
			ctx, leave := context.WithCancel(testContext(t, md...))
			ended := make(chan error, 1)
			go func() {
				_, err := s.kv(node).Put(ctx, &pb.PutRequest{Key: []byte(lostKey)})
				ended <- err
			}()
			left++
			eventually(t, "the write to be submitted", func() bool { return s.data.lost.Load() == left })
			leave()
			if <-ended == nil {
				t.Error("a put without an outcome succeeded")
			}
			eventually(t, "the write to be abandoned", func() bool { return s.data.abandoned.Load() == left })
		}
	}
	for node := range 2 {
		o := &s.nodes[node].overdue
		eventually(t, "no write to be waited for", func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.first == nil
		})
	}
}
