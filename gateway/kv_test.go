package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestKVThroughClientv3(t *testing.T) {
	s := newSite(t, 1, nil)
	c, ctx := s.client(0), testContext(t)

	put, err := c.Put(ctx, "a", "1")
	if err != nil {
		t.Fatal(err)
	}
	if h := put.Header; h.ClusterId != 42 || h.MemberId != 1 || h.RaftTerm != 7 || h.Revision != 2 {
		t.Errorf("header of the first write: %v", h)
	}
	put, err = c.Put(ctx, "a", "2", clientv3.WithPrevKV())
	if err != nil || string(put.PrevKv.Value) != "1" {
		t.Errorf("previous value: %v, %v", put, err)
	}
	if _, err := c.Put(ctx, "b", "3"); err != nil {
		t.Fatal(err)
	}
	get, err := c.Get(ctx, "a", clientv3.WithPrefix(), clientv3.WithSerializable())
	if err != nil || len(get.Kvs) != 1 || string(get.Kvs[0].Value) != "2" || get.Header.RaftTerm != 7 || get.Header.Revision != 4 {
		t.Errorf("get: %v, %v", get, err)
	}
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "2")).
		Then(clientv3.OpPut("c", "x"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet("c")}, nil)).Commit()
	if err != nil || !txn.Succeeded || string(txn.Responses[1].GetResponseTxn().Responses[0].GetResponseRange().Kvs[0].Value) != "x" {
		t.Errorf("txn: %v, %v", txn, err)
	}
	txn, err = c.Txn(ctx).If(clientv3.Compare(clientv3.Version("none"), ">", 0)).Then(clientv3.OpGet("a")).Else(clientv3.OpGet("b")).Commit()
	if err != nil || txn.Succeeded || txn.Header.MemberId != 1 {
		t.Errorf("read-only txn: %v, %v", txn, err)
	}
	del, err := c.Delete(ctx, "a", clientv3.WithFromKey(), clientv3.WithPrevKV())
	if err != nil || del.Deleted != 3 || len(del.PrevKvs) != 3 || del.Header.Revision != 6 {
		t.Errorf("delete: %v, %v", del, err)
	}
	if compact, err := c.Compact(ctx, 5); err != nil || compact.Header.ClusterId != 42 {
		t.Errorf("compact: %v, %v", compact, err)
	}
}

func TestKVErrorsAreEtcds(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.MaxRequestBytes = 1000 })
	c, ctx := s.client(0), testContext(t)
	for range 3 {
		if _, err := c.Put(ctx, "a", "1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Compact(ctx, 3); err != nil {
		t.Fatal(err)
	}
	var many []clientv3.Op
	for range 129 {
		many = append(many, clientv3.OpGet("a"))
	}
	for _, x := range []struct {
		name string
		call func() error
		want error
	}{
		{"empty key", func() error { _, err := c.Put(ctx, "", "v"); return err }, rpctypes.ErrEmptyKey},
		{"ignore value of no key", func() error { _, err := c.Put(ctx, "none", "", clientv3.WithIgnoreValue()); return err }, rpctypes.ErrKeyNotFound},
		{"unknown lease", func() error { _, err := c.Put(ctx, "a", "", clientv3.WithLease(77)); return err }, rpctypes.ErrLeaseNotFound},
		{"too large", func() error { _, err := c.Put(ctx, "a", strings.Repeat("x", 1000)); return err }, rpctypes.ErrRequestTooLarge},
		{"too many", func() error { _, err := c.Txn(ctx).Then(many...).Commit(); return err }, rpctypes.ErrTooManyOps},
		{"duplicate", func() error {
			_, err := c.Txn(ctx).Then(clientv3.OpPut("a", "1"), clientv3.OpDelete("a")).Commit()
			return err
		}, rpctypes.ErrDuplicateKey},
		{"compacted read", func() error { _, err := c.Get(ctx, "a", clientv3.WithRev(2)); return err }, rpctypes.ErrCompacted},
		{"future read", func() error { _, err := c.Get(ctx, "a", clientv3.WithRev(99)); return err }, rpctypes.ErrFutureRev},
		{"compacted compaction", func() error { _, err := c.Compact(ctx, 3); return err }, rpctypes.ErrCompacted},
		{"future compaction", func() error { _, err := c.Compact(ctx, 99); return err }, rpctypes.ErrFutureRev},
	} {
		if err := x.call(); !errors.Is(err, x.want) {
			t.Errorf("%s: got %v, want %v", x.name, err, x.want)
		}
	}
	_, err := s.kv(0).Range(ctx, &pb.RangeRequest{Key: []byte("a"), SortTarget: 9})
	if !errors.Is(rpctypes.Error(err), rpctypes.ErrInvalidSortOption) {
		t.Errorf("invalid sort: %v", err)
	}
}

func TestReadTimesOutAsEtcds(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.RequestTimeout = 1 })
	s.data.gate = make(chan struct{})
	_, err := s.kv(0).Range(testContext(t), &pb.RangeRequest{Key: []byte("a")})
	if !errors.Is(rpctypes.Error(err), rpctypes.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err = s.kv(0).Range(ctx, &pb.RangeRequest{Key: []byte("a")}); status.Code(err) != codes.Canceled {
		t.Errorf("canceled by the client: %v", err)
	}
}

func TestRequireLeader(t *testing.T) {
	s := newSite(t, 1, nil)
	s.data.lead(0)
	ctx := clientv3.WithRequireLeader(testContext(t))
	_, err := s.kv(0).Range(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: true})
	if !errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader) {
		t.Errorf("serializable range: %v", err)
	}
	if _, err = s.kv(0).Put(ctx, &pb.PutRequest{Key: []byte("a")}); !errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader) {
		t.Errorf("put: %v", err)
	}
	if _, err = s.kv(0).Range(testContext(t), &pb.RangeRequest{Key: []byte("a"), Serializable: true}); err != nil {
		t.Errorf("serializable range that requires no leader: %v", err)
	}
}

// TestElectionIsNoLoss: who requires a leader and asks during an election is answered after it.
func TestElectionIsNoLoss(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.LeaderLoss = time.Minute })
	s.data.lead(0)
	ctx := clientv3.WithRequireLeader(testContext(t))
	w := s.watch(ctx, 0)
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	read := make(chan error, 1)
	go func() {
		_, err := s.kv(0).Range(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: true})
		read <- err
	}()
	select {
	case err := <-read:
		t.Errorf("the range did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.data.lead(1)
	w.want("id 0 rev 1 created")
	if err := <-read; err != nil {
		t.Errorf("after the election: %v", err)
	}
}

func TestDeniedWritesAreNotMade(t *testing.T) {
	s := newSite(t, 1, nil)
	s.rooted(t)
	c, ctx := s.login("ann", "mine/", "mine0"), testContext(t)
	before := s.data.attempts()
	if _, err := c.Put(ctx, "mine/a", "1"); err != nil {
		t.Error(err)
	}
	for name, call := range map[string]func() error{
		"put":     func() error { _, err := c.Put(ctx, "a", "1"); return err },
		"get":     func() error { _, err := c.Get(ctx, "a"); return err },
		"delete":  func() error { _, err := c.Delete(ctx, "a"); return err },
		"compact": func() error { _, err := c.Compact(ctx, 1); return err },
		"compare": func() error {
			_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("a"), "=", 0)).Then(clientv3.OpPut("mine/a", "")).Commit()
			return err
		},
		"nested": func() error {
			_, err := c.Txn(ctx).Then(clientv3.OpTxn(nil, nil, []clientv3.Op{clientv3.OpPut("a", "")})).Commit()
			return err
		},
	} {
		if err := call(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.data.attempts() - before; n != 1 {
		t.Errorf("%d writes reached the datacenter, want 1", n)
	}
}
