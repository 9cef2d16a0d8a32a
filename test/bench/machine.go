package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// machine is what the figures depend on besides the programs.
type machine struct {
	CPU         string  `json:"cpu"`
	Cores       int     `json:"cores"`
	Kernel      string  `json:"kernel"`
	Go          string  `json:"go"` // of this program
	FsyncMicros float64 `json:"fsync_us"`
	LoadAverage float64 `json:"load_average_at_start"` // of the last minute
}

func describeMachine(dir string) (machine, error) {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return m, fmt.Errorf("describe the machine: %w", err)
	}
	cpus, err := fs.CPUInfo()
	if err != nil {
		return m, fmt.Errorf("describe the machine: %w", err)
	}
	if len(cpus) > 0 {
		m.CPU = cpus[0].ModelName
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, fmt.Errorf("describe the machine: %w", err)
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	load, err := fs.LoadAvg()
	if err != nil {
		return m, fmt.Errorf("describe the machine: %w", err)
	}
	m.LoadAverage = load.Load1
	took, err := syncTime(dir)
	m.FsyncMicros = float64(took) / float64(time.Microsecond)
	return m, err
}

// cpuTime is what the whole machine has spent from its start until a moment, in seconds of one core.
type cpuTime struct {
	at    time.Time
	busy  float64
	steal float64 // what the hypervisor gave to others
}

func machineCPU() (cpuTime, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return cpuTime{}, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	s, err := fs.Stat()
	if err != nil {
		return cpuTime{}, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	t := s.CPUTotal
	return cpuTime{at: time.Now(), busy: t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ, steal: t.Steal}, nil
}

// cores is what all cores had to spend since an earlier moment, in seconds of one.
func (t cpuTime) cores(before cpuTime) float64 {
	return t.at.Sub(before.at).Seconds() * float64(runtime.NumCPU())
}

// shares are what of all cores was busy since an earlier moment, and what the hypervisor gave to others. The kernel counts
// in hundredths of a second, so that a short time could seem to have been more than busy.
func (t cpuTime) shares(before cpuTime) (busy, steal float64) {
	cores := t.cores(before)
	return min(1, (t.busy-before.busy)/cores), min(1, (t.steal-before.steal)/cores)
}
