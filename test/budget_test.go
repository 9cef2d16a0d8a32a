package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestBudgetBoundsWhatAPeerLacks cuts a peer off under ASYNC writes: no more may be committed here than the
// budget allows to be lost, and writes flow again once the peer has caught up.
func TestBudgetBoundsWhatAPeerLacks(t *testing.T) {
	t.Parallel()
	const bound = 50
	c := cluster.Start(t, cluster.Options{DCs: []string{"us-east", "eu-west"}, Edit: func(topology *configs.Topology) {
		topology.Keyspaces = []configs.Keyspace{
			{Prefix: "counted/", Policy: "ASYNC", MaxLag: configs.MaxLag{Transactions: bound}},
			{Prefix: "aged/", Policy: "ASYNC", MaxLag: configs.MaxLag{Age: 2 * time.Second}},
			{Prefix: "waits/", Policy: "ASYNC", Timeout: time.Minute, MaxLag: configs.MaxLag{Age: 2 * time.Second, OnExceed: configs.Wait}},
		}
	}})
	us := c.Client("us-east")
	for _, prefix := range []string{"counted/", "aged/", "waits/"} {
		if _, err := put(t.Context(), us, prefix+"before", "v", "ALL", 0); err != nil { // else its ack could still be under way
			t.Fatal(err)
		}
	}
	c.WaitEqual(20 * time.Second)
	c.Isolate("us-east")
	acknowledged := 0
	for ; acknowledged <= bound; acknowledged++ {
		if _, err := put(t.Context(), us, fmt.Sprintf("counted/%d", acknowledged), "v", "", 0); err != nil {
			refused(t, err, "transactions 50 of 50")
			break
		}
	}
	if acknowledged != bound {
		t.Errorf("%d writes were acknowledged that the peer lacks, the budget is %d", acknowledged, bound)
	}
	c.Eventually(10*time.Second, "the budget of age to be used up", func() string {
		if _, err := put(t.Context(), us, "aged/k", "v", "", 0); err != nil {
			refused(t, err, "eu-west lags by age 2")
			return ""
		}
		return "still written"
	})
	before, err := c.Leader("us-east").Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := put(t.Context(), us, "waits/k", "v", "", 0)
		answered <- err
	}()
	if _, err := put(t.Context(), us, "counted/more", "v", "", 0); err == nil {
		t.Error("written over the budget")
	}
	select {
	case err := <-answered:
		t.Fatalf("answered while the peer is cut off: %v", err)
	case <-time.After(300 * time.Millisecond): // nothing may happen in it
	}
	if after, err := c.Leader("us-east").Status(t.Context()); err != nil || after.Revision != before.Revision {
		t.Errorf("refused and waiting writes moved the revision from %d to %d (%v)", before.Revision, after.Revision, err)
	}
	c.Rejoin("us-east")
	if err := <-answered; err != nil {
		t.Errorf("a write that waited for the peer: %v", err)
	}
	c.Eventually(20*time.Second, "writes to flow again", func() string {
		for _, key := range []string{"counted/after", "aged/after"} {
			if _, err := put(t.Context(), us, key, "v", "", 0); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	c.WaitEqual(20 * time.Second)
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "nothing was written") || !strings.Contains(err.Error(), want) {
		t.Errorf("want %q, got %v", want, err)
	}
}
