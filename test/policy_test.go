package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/configs"
	"geogate/test/cluster"
)

var allDCs = []string{"us-east", "eu-west", "ap-south"}

// TestPoliciesAnswerWhenTheyPromise runs three datacenters and checks, for each policy, that the answer comes
// with as many commits as it promises, and that none comes while those are missing.
func TestPoliciesAnswerWhenTheyPromise(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Edit: func(topology *configs.Topology) {
		topology.Keyspaces = []configs.Keyspace{{Prefix: "patient/", Policy: "ALL", OnUnreachable: configs.Wait, Timeout: 20 * time.Second}}
	}})
	us := c.Client("us-east")

	t.Run("commits are there when the answer comes", func(t *testing.T) {
		for _, want := range []struct {
			policy string
			needs  int
		}{{"ASYNC", 1}, {"ANY", 2}, {"QUORUM", 2}, {"ALL", 3}} {
			for i := range 10 {
				r, err := put(t.Context(), us, fmt.Sprintf("%s/%d", want.policy, i), "v", want.policy, 10*time.Second)
				if err != nil {
					t.Fatalf("%s: %v", want.policy, err)
				}
				applied := 0
				for _, dc := range allDCs {
					s, err := c.Leader(dc).Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if s.Vector["us-east"] >= r.revision() {
						applied++
					} else if slices.Contains(r.ackedBy, dc) {
						t.Errorf("%s: %s is named in the receipt and has not applied %s", want.policy, dc, r.token)
					}
				}
				if applied < want.needs || len(r.ackedBy) < want.needs || r.ackedBy[0] != "us-east" || r.policy != want.policy {
					t.Errorf("%s answered with %d commits: %+v", want.policy, applied, r)
				}
			}
		}
	})

	t.Run("no answer while the peers are cut off, and the error says what is committed", func(t *testing.T) {
		c.Isolate("us-east")
		for _, policy := range []string{"ANY", "QUORUM", "ALL"} {
			key := "cut/" + policy
			began := time.Now()
			r, err := put(t.Context(), us, key, "v", policy, 600*time.Millisecond)
			if err == nil {
				t.Fatalf("%s answered without a peer: %+v", policy, r)
			}
			if took := time.Since(began); status.Code(err) != codes.Unavailable && took < 500*time.Millisecond {
				t.Errorf("%s gave up after %s: %v", policy, took, err)
			}
			if status.Code(err) == codes.Unavailable {
				continue // the peers are known to be down by now
			}
			if r.token == "" || !strings.Contains(err.Error(), r.token) || !strings.Contains(err.Error(), "committed") {
				t.Errorf("%s: the error must name the token and say that it is committed here: %v", policy, err)
			}
			if v, ok := get(t, us, key); !ok || v != "v" {
				t.Errorf("%s: said to be committed here, but reads as %q", policy, v)
			}
		}
		if r, err := put(t.Context(), us, "cut/ASYNC", "v", "ASYNC", 0); err != nil || !slices.Equal(r.ackedBy, []string{"us-east"}) {
			t.Errorf("ASYNC: %+v, %v", r, err)
		}
		c.Rejoin("us-east")
		c.WaitHealthy(20 * time.Second)
		c.WaitEqual(20 * time.Second)
	})

	t.Run("one datacenter down: ALL refuses before committing, the others go on", func(t *testing.T) {
		c.Isolate("ap-south")
		waitDown(t, c, "us-east", "ap-south")
		before, err := c.Leader("us-east").Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = put(t.Context(), us, "down/ALL", "v", "ALL", 5*time.Second)
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "ap-south") {
			t.Errorf("ALL with a datacenter down: %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the refusal took %s", took)
		}
		if after, err := c.Leader("us-east").Status(t.Context()); err != nil || after.Revision != before.Revision {
			t.Errorf("a refused write moved the revision from %d to %d (%v)", before.Revision, after.Revision, err)
		}
		if _, ok := get(t, us, "down/ALL"); ok {
			t.Error("a refused write is there")
		}
		for _, policy := range []string{"QUORUM", "ANY", "ASYNC"} {
			if r, err := put(t.Context(), us, "down/"+policy, "v", policy, 5*time.Second); err != nil {
				t.Errorf("%s: %+v %v", policy, r, err)
			}
		}
	})

	t.Run("on_unreachable wait: the answer comes when the datacenter is back", func(t *testing.T) {
		answered := make(chan error, 1)
		go func() {
			r, err := put(context.WithoutCancel(t.Context()), us, "patient/k", "v", "", 0)
			if err == nil && len(r.ackedBy) != 3 {
				err = fmt.Errorf("acked by %v", r.ackedBy)
			}
			answered <- err
		}()
		c.Eventually(10*time.Second, "the local commit", func() string {
			if _, ok := get(t, us, "patient/k"); !ok {
				return "not there yet"
			}
			return ""
		})
		select {
		case err := <-answered:
			t.Fatalf("answered while ap-south is cut off: %v", err)
		default:
		}
		c.Rejoin("ap-south")
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})

	c.WaitHealthy(20 * time.Second)
	vector := c.WaitEqual(20 * time.Second)
	for _, key := range []string{"down/QUORUM", "cut/ASYNC", "cut/ALL"} {
		for _, dc := range allDCs[1:] {
			if _, ok := get(t, c.Client(dc), key); !ok && key != "cut/ALL" {
				t.Errorf("%s lacks %s at %v", dc, key, vector)
			}
		}
	}
}

func waitDown(t *testing.T, c *cluster.Cluster, from, to string) {
	t.Helper()
	c.Eventually(15*time.Second, from+" to notice that "+to+" is down", func() string {
		s, err := c.Leader(from).Status(t.Context())
		if err != nil {
			return err.Error()
		}
		for _, p := range s.Peers {
			if p.DC == to && p.Health == "down" {
				return ""
			}
		}
		return fmt.Sprintf("%+v", s.Peers)
	})
}
