package main

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// The sides that can be measured.
const (
	sideEtcd    = "etcd"
	sideGeogate = "geogate"
	sideCeiling = "ceiling"
	sideNATS    = "nats" // a JetStream bucket, without gRPC; only of three servers, and only puts
)

// Where clients connect.
const (
	targetAll    = "all"
	targetLeader = "leader"
)

// Config says what is measured and how.
type Config struct {
	Clients     []int         // of the put cases
	ReadClients []int         // of the range cases, linearizable and serializable
	TxnClients  []int         // of the transaction cases
	Rounds      int           // measurements of each side in each case
	Duration    time.Duration // of one measurement
	ValueBytes  int
	WorkPuts    int      // of the case with a fixed amount of work; 0 leaves it out
	Single      bool     // compare one node with one member as well
	Sides       []string // etcd, geogate, ceiling, nats
	Self        string   // path of this program, which is also the load generator of nats; "" means where it runs from
	Target      string   // all or leader
	Geogate     string   // path of the geogate program
	Loader      string   // path of the load generator; "" means Geogate
	Dir         string   // under which the servers' data is kept for the time of the run
	JSON        string   // file for the report; "" means none
	// Geo measures three datacenters instead of one, with Nodes each.
	Geo           bool
	Nodes         int           // 1 or 3
	RTT           time.Duration // between datacenters, of the QUORUM cases
	QuorumClients []int         // of one datacenter at a time
	Crowd         int           // clients of each datacenter when all write at once
	CatchUp       int           // keys that a datacenter misses while it is down
	Idle          time.Duration // how long CPU time is counted while nobody writes
	// Growth measures geogate alone while one thing grows at a time.
	Growth       bool
	GrowthKeys   []int
	GrowthDCs    []int
	GrowthNodes  []int  // 1, 3 or 5
	GrowthValues []int  // bytes
	Plot         string // SVG file of the curves; "" means none
	Profile      string // file for a CPU profile of geogate's leader; "" means none
}

func allSides() []string { return []string{sideEtcd, sideGeogate, sideCeiling, sideNATS} }

func defaults() Config {
	return Config{
		Clients: []int{1, 16, 64, 256, 1000}, ReadClients: []int{64, 256}, TxnClients: []int{64},
		Rounds: 3, Duration: 2 * time.Second, ValueBytes: 256, WorkPuts: 50_000, Single: true,
		Sides: allSides(), Target: targetAll,
		Nodes: 3, RTT: 60 * time.Millisecond, QuorumClients: []int{1, 64}, Crowd: 256, CatchUp: 200_000, Idle: 20 * time.Second,
		GrowthKeys: []int{10_000, 100_000, 1_000_000}, GrowthDCs: []int{1, 2, 3, 5}, GrowthNodes: []int{1, 3, 5},
		GrowthValues: []int{100, 1 << 10, 10 << 10, 100 << 10, 1 << 20},
		Geogate:      "bin/geogate", Dir: os.TempDir(),
	}
}

// shorten makes a run of about a minute, as far as flags don't say otherwise.
func (c *Config) shorten(changed func(flag string) bool) {
	if !changed("rounds") {
		c.Rounds = 2
	}
	if !changed("duration") {
		c.Duration = 600 * time.Millisecond
	}
	if !changed("clients") {
		c.Clients = []int{1, 64, 256}
	}
	if !changed("read-clients") {
		c.ReadClients = []int{64}
	}
	if !changed("catch-up") {
		c.CatchUp = 20_000
	}
	if !changed("growth-keys") {
		c.GrowthKeys = []int{1_000, 10_000}
	}
	if !changed("idle") {
		c.Idle = 3 * time.Second
	}
	if !changed("single") {
		c.Single = false
	}
	if !changed("work-puts") {
		c.WorkPuts = 10_000
	}
}

func (c *Config) validate() error {
	for _, s := range c.Sides {
		if !slices.Contains(allSides(), s) {
			return fmt.Errorf("%w: side %q, want one of %v", errUsage, s, allSides())
		}
	}
	for _, n := range slices.Concat(c.Clients, c.ReadClients, c.TxnClients, c.QuorumClients, []int{c.Crowd}) {
		if n < 1 {
			return fmt.Errorf("%w: %d clients, want at least 1", errUsage, n)
		}
	}
	if err := c.validateGrowth(); err != nil {
		return err
	}
	switch {
	case len(c.Sides) == 0:
		return fmt.Errorf("%w: no side to measure", errUsage)
	case c.Target != targetAll && c.Target != targetLeader:
		return fmt.Errorf("%w: target %q, want %s or %s", errUsage, c.Target, targetAll, targetLeader)
	case c.Rounds < 1, c.Duration <= 0, c.ValueBytes < 1, c.WorkPuts < 0:
		return fmt.Errorf("%w: rounds %d, duration %s, value bytes %d and work puts %d must be positive",
			errUsage, c.Rounds, c.Duration, c.ValueBytes, c.WorkPuts)
	case c.Nodes != 1 && c.Nodes != 3:
		return fmt.Errorf("%w: %d nodes in each datacenter, want 1 or 3", errUsage, c.Nodes)
	case c.RTT <= 0, c.CatchUp < 1, c.Idle <= 0:
		return fmt.Errorf("%w: round trip time %s, %d keys to catch up and idle time %s must be positive", errUsage, c.RTT, c.CatchUp, c.Idle)
	case c.Geo && !slices.Contains(c.Sides, sideGeogate):
		return fmt.Errorf("%w: --geo measures geogate, which is not among the sides %v", errUsage, c.Sides)
	case c.Profile != "" && !slices.Contains(c.Sides, sideGeogate):
		return fmt.Errorf("%w: a profile is of geogate, which is not among the sides %v", errUsage, c.Sides)
	}
	if c.Self == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		c.Self = self
	}
	if c.Loader == "" {
		c.Loader = c.Geogate
	}
	programs := []string{c.Loader}
	if slices.Contains(c.Sides, sideGeogate) {
		programs = append(programs, c.Geogate)
	}
	for _, path := range programs {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w: no program at %s; run `make build` first: %w", errUsage, path, err)
		}
	}
	return onDisk(c.Dir)
}

func (c *Config) validateGrowth() error {
	for _, n := range slices.Concat(c.GrowthKeys, c.GrowthDCs, c.GrowthNodes, c.GrowthValues) {
		if n < 1 {
			return fmt.Errorf("%w: growth to %d, want at least 1", errUsage, n)
		}
	}
	for _, n := range c.GrowthNodes {
		if n != 1 && n != 3 && n != 5 {
			return fmt.Errorf("%w: growth to %d nodes, want 1, 3 or 5", errUsage, n)
		}
	}
	switch {
	case len(c.GrowthKeys) == 0:
		return fmt.Errorf("%w: --growth-keys names no number", errUsage)
	case c.Growth && c.Geo:
		return fmt.Errorf("%w: --geo and --growth are two runs", errUsage)
	case c.Growth && !slices.Contains(c.Sides, sideGeogate):
		return fmt.Errorf("%w: --growth measures geogate, which is not among the sides %v", errUsage, c.Sides)
	case c.Plot != "" && (!c.Growth || c.JSON == ""):
		return fmt.Errorf("%w: --plot draws what --growth has written to --json; give all three", errUsage)
	}
	return nil
}
