package drill

import (
	"fmt"
	"time"
)

// Names of objectives, which are their keys in a scenario.
const (
	objectivePause  = "write_pause"
	objectiveWindow = "error_window"
	objectiveDetect = "detect"
	objectiveRTO    = "rto"
	objectiveStale  = "stale_reads"
	objectiveLost   = "acknowledged_lost"
	objectiveRisk   = "at_risk"
)

// judge compares the figures of a report with the objectives.
func (o *Objectives) judge(r *Report) (out []Objective) {
	bound := func(name string, limit *time.Duration, measured *float64, unknown bool) {
		if limit != nil {
			out = append(out, Objective{name, limit.Seconds(), measured, met(measured, limit.Seconds(), unknown)})
		}
	}
	count := func(name string, limit int, measured *int) {
		var m *float64
		if measured != nil {
			f := float64(*measured)
			m = &f
		}
		out = append(out, Objective{name, float64(limit), m, met(m, float64(limit), false)})
	}
	bound(objectivePause, o.WritePause, &r.WritePause, false)
	bound(objectiveWindow, o.ErrorWindow, &r.ErrorWindow, false)
	bound(objectiveDetect, o.Detect, r.Detect, false) // a fault that nobody has noticed is no success
	bound(objectiveRTO, o.RTO, r.RTO, true)           // none: no write failed
	bound(objectiveStale, o.StaleReads, &r.StaleRead, false)
	lost := 0
	if o.AcknowledgedLost != nil {
		lost = *o.AcknowledgedLost
	}
	count(objectiveLost, lost, r.AcknowledgedLost)
	if o.AtRisk != nil {
		count(objectiveRisk, *o.AtRisk, &r.AtRisk)
	}
	return out
}

func met(measured *float64, limit float64, unknown bool) bool {
	if measured == nil {
		return unknown
	}
	return *measured <= limit
}

// abortFloor is what an objective must be missed by at least before a drill is ended for it.
const abortFloor = 5 * time.Second

// hopeless is why a drill should end: an objective is missed by a lot; "" while it need not.
func (o *Objectives) hopeless(factor int, pause, window time.Duration) string {
	for _, x := range []struct {
		name  string
		limit *time.Duration
		is    time.Duration
	}{{objectivePause, o.WritePause, pause}, {objectiveWindow, o.ErrorWindow, window}} {
		if x.limit != nil && x.is > *x.limit*time.Duration(factor) && x.is > *x.limit+abortFloor {
			return fmt.Sprintf("%s has reached %.1fs, and the objective is %s", x.name, x.is.Seconds(), *x.limit)
		}
	}
	return ""
}
