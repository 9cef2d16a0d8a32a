package test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestDegradationIsShownAndLeft cuts a peer off: writes go on under the weaker policy and their receipts say
// so, no longer than the bounds allow, and the policy holds again after the link has healed.
func TestDegradationIsShownAndLeft(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: []string{"us-east", "eu-west"}, Edit: func(topology *configs.Topology) {
		topology.Policy.Default, topology.Policy.OnUnreachable = "ALL", configs.Degraded
		topology.Policy.Degrade.RecoverAfter = time.Second
		topology.Keyspaces = []configs.Keyspace{{Prefix: "few/", Degrade: configs.Degrade{MaxBytes: 100}}}
	}})
	us := c.Client("us-east")
	write := func(key string) (receipt, error) { return put(t.Context(), us, key, "v", "", 5*time.Second) }
	if r, err := write("before"); err != nil || r.weaker != "" || len(r.ackedBy) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	c.Isolate("us-east")
	waitDown(t, c, "us-east", "eu-west")
	if r, err := write("during"); err != nil || r.policy != "ALL" || r.weaker != "ASYNC" || len(r.ackedBy) != 1 {
		t.Fatalf("with the peer down: %+v, %v", r, err)
	}
	written := 0
	for ; written < 50; written++ {
		if _, err := write(fmt.Sprintf("few/%02d", written)); err != nil {
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no more than 100 bytes") {
				t.Error(err)
			}
			break
		}
	}
	if written == 0 || written > 20 {
		t.Errorf("%d writes under a degradation of 100 bytes", written)
	}
	if r, err := write("still"); err != nil || r.weaker != "ASYNC" {
		t.Errorf("another keyspace has bounds of its own: %+v, %v", r, err)
	}
	admin := c.Leader("us-east").Spec.Admin
	if text := fetchText(t, admin, "/metrics"); !strings.Contains(text, `geogate_gateway_policy_degraded{keyspace=""} 1`) {
		t.Error("the gauge is not 1")
	}
	c.Rejoin("us-east")
	c.Eventually(20*time.Second, "the policy to hold again", func() string {
		for _, key := range []string{"after", "few/after"} {
			if r, err := write(key); err != nil || r.weaker != "" || len(r.ackedBy) != 2 {
				return fmt.Sprintf("%s: %+v, %v", key, r, err)
			}
		}
		return ""
	})
	if text := fetchText(t, admin, "/v1/events"); !strings.Contains(text, "the peers are back and close for 1s") || !strings.Contains(text, "down: eu-west") {
		t.Errorf("events: %s", text)
	}
	c.Eventually(10*time.Second, "the gauges to go back to 0", func() string {
		if text := fetchText(t, admin, "/metrics"); strings.Contains(text, `policy_degraded{keyspace=""} 1`) || strings.Contains(text, `policy_degraded{keyspace="few/"} 1`) {
			return "1"
		}
		return ""
	})
	c.WaitEqual(20 * time.Second)
	if _, ok := get(t, c.Client("eu-west"), "during"); !ok {
		t.Error("a degraded write never arrived")
	}
}

func fetchText(t *testing.T, admin, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
