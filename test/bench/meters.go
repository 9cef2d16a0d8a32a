package main

import "geogate/test/etcdbin/process"

// meters are the counters that a measurement reads before and after.
type meters struct {
	server  process.Usage
	machine cpuTime
}

func readMeters(s server) (meters, error) {
	u, err := usage(s)
	if err != nil {
		return meters{}, err
	}
	m, err := machineCPU()
	return meters{server: u, machine: m}, err
}
