package allocs

import "testing"

// runs is over how many operations the mean is taken, after one that warms up.
const runs = 200

// AtMost runs op again and again, runs+1 times in all, and fails when it allocates more than most times on
// average. Whoever makes op cheaper lowers the bound; whoever has a reason to make it dearer says so beside it.
func AtMost(t *testing.T, name string, most float64, op func()) {
	t.Helper()
	if underRace {
		t.Skip("the race detector allocates too")
	}
	got := testing.AllocsPerRun(runs, op)
	t.Logf("%s: %.0f allocations, at most %.0f are allowed", name, got, most)
	if got > most {
		t.Errorf("%s allocates %.0f times, at most %.0f are allowed; `go test -bench . -benchmem -memprofile mem.prof` shows where", name, got, most)
	}
}

// Times is how often AtMost calls op, for those that prepare something for each call.
const Times = runs + 1
