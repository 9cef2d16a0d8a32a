package main

import (
	"context"
	"fmt"
	"time"
)

// sample is one measurement of one side. Its median over the rounds has the same form.
type sample struct {
	Rate       float64 `json:"ops_per_second"` // successes
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	P999       float64 `json:"p99_9_ms"`
	Operations float64 `json:"operations"`
	Errors     float64 `json:"errors"`
	// CPUMicros are the servers' user and system time per operation, work that they put off for a moment
	// included.
	CPUMicros float64 `json:"server_cpu_us_per_op"`
	// PeakRSS is the sum over the servers' processes of the most memory each has had since it started.
	PeakRSS float64 `json:"server_peak_rss_bytes"`
	// LoadCPU and OtherCPU are shares of all cores: the load generator's, and that of everything that is neither
	// server nor load generator.
	LoadCPU  float64 `json:"load_generator_cpu_share"`
	OtherCPU float64 `json:"other_cpu_share"`
	// Busy and Steal are of all cores too, but only while the load generator ran: what was busy, whoever it was, and what
	// the hypervisor took away.
	Busy  float64 `json:"machine_busy_share"`
	Steal float64 `json:"steal_share"`

	loaded span // when the load was; a median has none
}

// settle is how long the servers may finish in the background what they have answered already, before their
// CPU time is read and somebody else is measured.
const settle = 250 * time.Millisecond

// loader is the load generator for a case at a side, and which of its endpoints leads.
func loader(ctx context.Context, cfg *Config, s server, c testCase) (program string, args []string, leader int, err error) {
	if t, ok := s.(side); ok {
		s = t.server
	}
	if n, ok := s.(*natsKV); ok {
		program, args = n.command(cfg, c)
		return program, args, 0, nil
	}
	leader, err = findLeader(ctx, s.Endpoints())
	return cfg.Loader, loadArgs(c, targets(s.Endpoints(), leader, cfg.Target), cfg), leader, err
}

// measure runs one case against one side. It also says whether the leader changed meanwhile.
func measure(ctx context.Context, cfg *Config, s server, c testCase) (out sample, moved bool, err error) {
	program, args, leader, err := loader(ctx, cfg, s, c)
	if err != nil {
		return out, false, err
	}
	before, err := readMeters(s)
	if err != nil {
		return out, false, err
	}
	r, loadCPU, err := load(ctx, program, args)
	if err != nil {
		return out, false, err
	}
	ended, err := machineCPU()
	if err != nil {
		return out, false, err
	}
	if err := pause(ctx, settle); err != nil {
		return out, false, err
	}
	after, err := readMeters(s)
	if err != nil {
		return out, false, err
	}
	_, _, now, err := loader(ctx, cfg, s, c)
	if err != nil {
		return out, false, err
	}
	cores := after.machine.cores(before.machine)
	servers := after.server.CPUSeconds - before.server.CPUSeconds
	ok := float64(r.Total - r.Errors)
	out = sample{
		Rate: r.Rate, P50: r.P50, P99: r.P99, P999: r.P999,
		Operations: float64(r.Total), Errors: float64(r.Errors),
		CPUMicros: 1e6 * servers / ok, PeakRSS: float64(after.server.PeakRSSBytes),
		LoadCPU:  loadCPU.Seconds() / cores,
		OtherCPU: max(0, after.machine.busy-before.machine.busy-servers-loadCPU.Seconds()) / cores,
		loaded:   span{ended.at.Add(-time.Duration(r.Seconds * float64(time.Second))), ended.at},
	}
	out.Busy, out.Steal = ended.shares(before.machine)
	return out, now != leader, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
}
