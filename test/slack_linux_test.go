package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"geogate/test/cluster"
)

// TestThreadsOfANodeAreWokenTogether looks at the timer slack of a node's first thread, of which all others have theirs.
func TestThreadsOfANodeAreWokenTogether(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:1]})
	file := fmt.Sprintf("/proc/%d/timerslack_ns", c.Node("us-east", "n0").PID())
	slack, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(slack)) + "ns"; got != fmt.Sprintf("%dns", time.Millisecond.Nanoseconds()) {
		t.Errorf("%s, want %s", got, time.Millisecond)
	}
}
