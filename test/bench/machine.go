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

// cpuTime is what the whole machine has spent since it started, in seconds of one core.
type cpuTime struct {
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
	return cpuTime{busy: t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ, steal: t.Steal}, nil
}
