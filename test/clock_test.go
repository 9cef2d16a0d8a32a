package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestWrongClocks sets the clock of one of three datacenters an hour ahead, right, an hour back, and right again.
func TestWrongClocks(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Clocks: true, Edit: func(topology *configs.Topology) {
		topology.Policy.Default = "ALL"
	}})
	us, eu := c.Client("us-east"), c.Client("eu-west")
	waitClock(t, c, "us-east", "within")

	c.SetClock("us-east", time.Hour)
	waitClock(t, c, "us-east", "fenced")
	_, err := put(t.Context(), us, "a", "ahead", "", 5*time.Second)
	st, _ := status.FromError(err)
	if st.Code() != codes.FailedPrecondition || !strings.Contains(st.Message(), "nothing was written: this node's clock is ahead") ||
		!strings.Contains(st.Message(), "more than max_clock_skew 500ms") || !strings.Contains(st.Message(), "set the clock of node n0") {
		t.Fatalf("a write with the clock ahead: %v", err)
	}
	if info, ok := st.Details()[0].(*errdetails.ErrorInfo); !ok || info.Reason != "CLOCK_AHEAD" {
		t.Errorf("details %v", st.Details())
	}
	// The others need us-east for ALL: it applies and acknowledges what they write, and serves reads.
	if r, err := put(t.Context(), eu, "a", "right", "", 5*time.Second); err != nil || len(r.ackedBy) != 3 {
		t.Fatalf("a write elsewhere: %+v, %v", r, err)
	}
	if v, _ := get(t, us, "a"); v != "right" {
		t.Errorf("us-east has %q", v)
	}
	if text := fetchText(t, c.Leader("us-east").Spec.Admin, "/metrics"); !strings.Contains(text, "geogate_clock_fenced 1") ||
		!strings.Contains(text, `geogate_clock_skew_seconds{peer="eu-west"} -3`) {
		t.Error("the metrics do not show it")
	}
	if text := fetchText(t, c.Leader("us-east").Spec.Admin, "/v1/events"); !strings.Contains(text, `"to": "fenced"`) {
		t.Errorf("no event: %s", text)
	}
	c.SetClock("us-east", 0)
	waitClock(t, c, "us-east", "within")
	if r, err := put(t.Context(), us, "a", "again", "", 5*time.Second); err != nil || len(r.ackedBy) != 3 {
		t.Fatalf("with the clock right again: %+v, %v", r, err)
	}

	c.SetClock("us-east", -time.Hour)
	c.Eventually(20*time.Second, "us-east to know that it is behind", func() string {
		s, err := c.Leader("us-east").Status(t.Context())
		if err != nil || s.Clock == nil || s.Clock.AheadMillis == nil || *s.Clock.AheadMillis > -3_500_000 {
			return fmt.Sprintf("%+v, %v", s, err)
		}
		return ""
	})
	// What comes later wins, whatever its clock says: its stamp is above everything that was applied.
	for i := range 5 {
		if _, err := put(t.Context(), eu, "b", fmt.Sprint("eu", i), "", 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := put(t.Context(), us, "b", fmt.Sprint("us", i), "", 5*time.Second); err != nil {
			t.Fatalf("a write with the clock behind: %v", err)
		}
		if v, _ := get(t, eu, "b"); v != fmt.Sprint("us", i) {
			t.Errorf("eu-west has %q after us%d", v, i)
		}
	}
	c.SetClock("us-east", 0)
	waitClock(t, c, "us-east", "within")
	for _, dc := range []string{"eu-west", "ap-south"} {
		if s, err := c.Leader(dc).Status(t.Context()); err != nil || s.Clock == nil || s.Clock.Refused != "" {
			t.Errorf("%s: %+v, %v", dc, s, err)
		}
	}
	c.WaitHealthy(10 * time.Second)
	c.WaitEqual(20 * time.Second)
}

// waitClock waits until a datacenter's clock is found to be so, and writes go on or not.
func waitClock(t *testing.T, c *cluster.Cluster, dc, state string) {
	t.Helper()
	c.Eventually(20*time.Second, dc+" to be "+state, func() string {
		s, err := c.Leader(dc).Status(t.Context())
		if err != nil || s.Clock == nil || s.Clock.State != state || s.Clock.AheadMillis == nil {
			return fmt.Sprintf("%+v, %v", s, err)
		}
		if state == "within" && (*s.Clock.AheadMillis > 500 || *s.Clock.AheadMillis < -500) {
			return fmt.Sprintf("%vms ahead", *s.Clock.AheadMillis)
		}
		return ""
	})
}
