package configs

import "time"

// Verification says how datacenters compare their data with each other's while it is written to.
type Verification struct {
	// Interval is how often each pair of datacenters does. 0 turns it off.
	Interval time.Duration `yaml:"interval"`
	// NodesInterval is how often the nodes of each datacenter do, with the one that leads. 0 turns it off.
	NodesInterval time.Duration `yaml:"nodes_interval"`
}

// leastVerification keeps the comparison from becoming the load.
const leastVerification = 100 * time.Millisecond

func checkVerification(report reporter, v Verification) {
	if v.Interval < 0 || v.Interval > 0 && v.Interval < leastVerification {
		report("verification.interval", "is %s, want at least %s, or 0 for never", v.Interval, leastVerification)
	}
	if v.NodesInterval < 0 || v.NodesInterval > 0 && v.NodesInterval < leastVerification {
		report("verification.nodes_interval", "is %s, want at least %s, or 0 for never", v.NodesInterval, leastVerification)
	}
}
