package test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestReadLevels reads in a datacenter to which the writer's link is cut: a quorum read sees what a majority has
// acknowledged, which comes over the third one; a bounded one is refused, and served again once the link is back.
func TestReadLevels(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs, Edit: func(top *configs.Topology) {
		top.Timing.SuspectAfter, top.Timing.DownAfter = 600*time.Millisecond, 1200*time.Millisecond
	}})
	writer, reader := allDCs[0], allDCs[2]
	kv := pb.NewKVClient(c.Client(reader).ActiveConnection())
	read := func(md ...string) (value string, trailer metadata.MD, err error) {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), md...), 10*time.Second)
		defer cancel()
		r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("read")}, grpc.Trailer(&trailer), grpc.WaitForReady(true))
		if len(r.GetKvs()) > 0 {
			value = string(r.Kvs[0].Value)
		}
		return value, trailer, err
	}
	c.Eventually(20*time.Second, "bounded read", func() string {
		_, trailer, err := read("geogate-max-staleness", "2s")
		if err != nil {
			return err.Error()
		}
		if age, err := time.ParseDuration(strings.Join(trailer.Get("geogate-staleness"), "")); err != nil || age > 2*time.Second {
			t.Errorf("geogate-staleness: %v", trailer)
		}
		return ""
	})
	c.Cut(writer, reader)
	if _, err := put(t.Context(), c.Client(writer), "read", "1", "QUORUM", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	c.Eventually(30*time.Second, "quorum read", func() string {
		value, _, err := read("geogate-read", "quorum")
		if err == nil && value != "1" {
			t.Fatalf("a quorum read has shown %q, and 1 was acknowledged under QUORUM", value)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
	time.Sleep(300 * time.Millisecond) // for nothing but to let the answer of before grow old
	_, _, err := read("geogate-max-staleness", "250ms")
	if st := status.Convert(err); st.Code() != codes.FailedPrecondition || !strings.Contains(st.Message(), "what "+reader+" has of "+writer+" is ") {
		t.Errorf("bounded read over a link that is cut: %v", err)
	}
	c.Heal(writer, reader)
	c.Eventually(30*time.Second, "bounded read after the link is back", func() string {
		value, _, err := read("geogate-max-staleness", "2s")
		if err == nil && value != "1" {
			t.Fatalf("a bounded read has shown %q", value)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
}
