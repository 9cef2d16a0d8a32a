package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestSessionMovesBetweenDatacenters writes in one datacenter and goes on in another, while the link between them does
// not work and comes back.
func TestSessionMovesBetweenDatacenters(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2], Edit: func(top *configs.Topology) { top.Policy.Default = "ASYNC" }})
	here, there := c.Client(allDCs[0]), c.Client(allDCs[1])
	c.Cut(allDCs[0], allDCs[1])
	wrote, err := put(t.Context(), here, "session", "1", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	after := metadata.AppendToOutgoingContext(t.Context(), "geogate-after", wrote.token)

	if v, ok := get(t, there, "session"); ok {
		t.Fatalf("%s crossed a link that is cut", v)
	}
	hurried, cancel := context.WithTimeout(after, 200*time.Millisecond)
	defer cancel()
	if r, err := there.Get(hurried, "session", clientv3.WithSerializable()); err == nil {
		t.Errorf("answered %v although the write can't be there", r.Kvs)
	}

	// All three wait, each 7 s at most, while the link comes back.
	answers := make(chan error, 3)
	for _, ask := range []func(context.Context) error{
		func(ctx context.Context) error {
			r, err := there.Get(ctx, "session", clientv3.WithSerializable())
			return sees(err, err == nil && r.Count == 1, "get")
		},
		func(ctx context.Context) error {
			r, err := there.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("session"), ">", 0)).Then(clientv3.OpPut("session", "2")).Commit()
			return sees(err, err == nil && r.Succeeded, "txn")
		},
		func(ctx context.Context) error {
			r := <-there.Watch(ctx, "session", clientv3.WithCreatedNotify())
			if err := r.Err(); err != nil {
				return err
			}
			// The watch begins behind this revision.
			before, err := there.Get(t.Context(), "session", clientv3.WithRev(r.Header.Revision))
			return sees(err, err == nil && before.Count == 1, "watch")
		},
	} {
		go func() {
			ctx, cancel := context.WithTimeout(after, 60*time.Second)
			defer cancel()
			for {
				err := ask(ctx)
				if status.Code(err) == codes.FailedPrecondition && strings.Contains(err.Error(), "has not applied "+wrote.token) {
					continue // the link took longer
				}
				answers <- err
				return
			}
		}()
	}
	c.Heal(allDCs[0], allDCs[1])
	for range 3 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

// sees is an error when an answer that could be given does not have the write.
func sees(err error, found bool, what string) error {
	if err == nil && !found {
		return fmt.Errorf("%s: answered without the write that it had to see", what) //nolint:err113 // of this test
	}
	return err
}
