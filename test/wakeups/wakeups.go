package wakeups

import "runtime/metrics"

// sampled is how many of a goroutine's wake-ups the runtime counts one of.
const sampled = 8

// During is about how often goroutines of this process began to run while f did.
func During(f func()) int {
	before := count()
	f()
	return sampled * int(count()-before)
}

func count() (n uint64) {
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}} // of every goroutine that became runnable until it ran
	metrics.Read(s)
	for _, c := range s[0].Value.Float64Histogram().Counts {
		n += c
	}
	return n
}
