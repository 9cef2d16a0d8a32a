package process

import (
	"fmt"

	"github.com/prometheus/procfs"
)

// Usage is what a process has used so far.
type Usage struct {
	CPUSeconds   float64 // user and system, all threads
	RSSBytes     uint64  // memory that it has now
	PeakRSSBytes uint64  // the most memory it ever had at once
}

// UsageOf reads a process's usage from /proc, so it works on Linux only.
func UsageOf(pid int) (Usage, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	stat, err := p.Stat()
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	status, err := p.NewStatus()
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	return Usage{CPUSeconds: stat.CPUTime(), RSSBytes: status.VmRSS, PeakRSSBytes: status.VmHWM}, nil
}
