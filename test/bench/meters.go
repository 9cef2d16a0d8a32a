package main

import (
	"time"

	"geogate/test/etcdbin/process"
)

// meters are the counters that a measurement reads before and after.
type meters struct {
	at      time.Time
	server  process.Usage
	machine cpuTime
}

func readMeters(s server) (meters, error) {
	u, err := usage(s)
	if err != nil {
		return meters{}, err
	}
	m, err := machineCPU()
	return meters{at: time.Now(), server: u, machine: m}, err
}
