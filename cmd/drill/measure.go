package drill

import (
	"fmt"
	"time"
)

func (d *drill) newReport(start time.Time) *Report {
	return &Report{
		ID: d.id, Scenario: d.scenario.Name, Description: d.scenario.Description, Cluster: d.cfg.Topology.Cluster, Datacenters: d.dcs,
		Keyspace: d.keyspace.Prefix, Mode: d.keyspace.Mode, Load: d.scenario.Load, Started: start, Problems: []string{}, LostKeys: []string{},
	}
}

// measure takes over what the probes have seen, once the load has ended.
func (d *drill) measure(r *Report) {
	now := time.Now()
	r.Ended = now
	pause, window := d.book.worst(now)
	r.WritePause, r.ErrorWindow = seconds(pause), seconds(window)
	b := d.book
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, g := range b.gauges {
		e := Endpoint{
			DC: d.dcs[i], Acknowledged: g.acknowledged, Failed: g.failed, WritePause: seconds(g.pause), ErrorWindow: seconds(g.window),
			StaleRead: seconds(b.stale[i]),
		}
		if !g.pauseAt.IsZero() {
			e.WritePauseAt = seconds(g.pauseAt.Sub(b.start))
		}
		if !g.windowAt.IsZero() {
			at := seconds(g.windowAt.Sub(b.start))
			e.ErrorWindowAt = &at
		}
		r.Endpoints = append(r.Endpoints, e)
		r.Acknowledged += g.acknowledged
		r.Failed += g.failed
		r.StaleRead = max(r.StaleRead, e.StaleRead)
	}
	for _, w := range b.writes {
		if w.risked {
			r.AtRisk++
		}
	}
	r.Detect, r.RTO = b.detectLocked(), b.rtoLocked(now)
	r.Timeline = b.line.points()
}

// detectLocked is the longest that a fault went unnoticed; nil when none was to be noticed, or one never was.
func (b *book) detectLocked() *float64 {
	var longest *float64
	for _, f := range b.faults {
		if f.sees == nil {
			continue
		}
		if f.detected.IsZero() {
			return nil
		}
		if took := seconds(f.detected.Sub(f.at)); longest == nil || took > *longest {
			longest = &took
		}
	}
	return longest
}

// rtoLocked is the longest that it took until writes were acknowledged again; nil when none failed.
func (b *book) rtoLocked(now time.Time) *float64 {
	var longest *float64
	for i, f := range b.faults {
		until := now
		if i+1 < len(b.faults) {
			until = b.faults[i+1].at
		}
		if d, ok := f.rto(b.attempts, until, now); ok && (longest == nil || seconds(d) > *longest) {
			s := seconds(d)
			longest = &s
		}
	}
	return longest
}

// finish judges.
func (d *drill) finish(r *Report) {
	r.Steps = d.steps
	d.watch.mu.Lock()
	r.Events = append([]Event{}, d.watch.events...)
	d.watch.mu.Unlock()
	r.Objectives = d.scenario.Objectives.judge(r)
	for _, o := range r.Objectives {
		if !o.Passed {
			r.Problems = append(r.Problems, fmt.Sprintf("%s is %s, and the objective is at most %s", o.Name, o.text(o.Measured), o.text(&o.Limit)))
		}
	}
	r.Passed = len(r.Problems) == 0
}
