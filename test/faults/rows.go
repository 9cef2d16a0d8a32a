//go:build linux

package main

import (
	"fmt"
	"time"
)

const all45 = "every datacenter takes ALL writes again within --recover"

// rows are all rows. What every run checks is in README.md of the folder above.
func rows() []row {
	flow := fmt.Sprintf("data flows %s after the end", flowWithin)
	return []row{
		rounds("kill-node", all45, 3, 2*time.Second, killNode),
		rounds("kill-leader", all45, 3, 2*time.Second, killLeader),
		rounds("kill-dc", all45, 2, 3*time.Second, killDC),
		rounds("kill-loop-node", all45, 2, 5*time.Second, killLoopNode),
		rounds("kill-loop-leader", all45, 2, 5*time.Second, killLoopLeader),
		rounds("kill-loop-dc", all45, 2, 5*time.Second, killLoopDC),
		rounds("pause-node", all45, 3, 2*time.Second, pauseNode),
		rounds("pause-leader", all45, 3, 3*time.Second, pauseLeader),
		rounds("pause-dc", all45, 2, 4*time.Second, pauseDC),
		healed("cut-link", flow, cutLink),
		healed("cut-one-way", flow, cutOneWay),
		healed("isolate-dc", flow, isolateDC),
		healed("stuck-link", "noticed, "+flow, stuckLink),
		rounds("flap-link", all45, 2, 5*time.Second, flapLink),
		rounds("slow-link", all45, 1, 15*time.Second, slowLink),
		slowLargeRow(),
		rounds("isolate-leader", all45, 3, 3*time.Second, isolateLeader),
		rounds("split-dc", all45, 3, 3*time.Second, splitDC),
		rounds("shaky-dc", all45, 2, 5*time.Second, shakyDC),
		rounds("wipe-stream", all45, 4, time.Second, wipeStream),
		rounds("truncate-stream", all45, 4, time.Second, truncateStream),
		externalRow("external-nats", 1, externalFlow),
		externalRow("external-cluster", 3, clusterFlow),
		rounds("fill-disk", all45, 2, 4*time.Second, fillDisk),
		rounds("compact", "history is gone as far as it was answered, no further than asked", 3, 3*time.Second, compact, killLeader, cutLink),
		awayRow(),
		snapLeaderRow(),
		joinRow(),
		originLostRow(),
		goneRow(),
		homeSwitchRow(),
		homeDiesRow(),
		homeReplacedRow(),
		homeAloneRow("home-alone", 1, 0),
		homeAloneRow("home-alone-slow", 0.95, 100_000),
		homeAloneRow("home-alone-fast", 1.05, 100_000),
		homeDriftRow(),
		homeOperatorsRow(),
		homeHalfRow(),
		homeWitnessDiesRow(),
		homeWitnessAloneRow(),
		homeTwoSitesRow(),
		homeMutexRow(),
		homeCrashRow(),
	}
}
