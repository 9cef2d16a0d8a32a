package drill

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Report is what a drill found. A nil figure is unknown, or there was nothing to measure.
type Report struct {
	ID          string    `json:"id"`
	Scenario    string    `json:"scenario"`
	Description string    `json:"description,omitempty"`
	Cluster     string    `json:"cluster"`
	Datacenters []string  `json:"datacenters"`
	Keyspace    string    `json:"keyspace"` // its prefix
	Mode        string    `json:"mode"`     // of the keyspace
	Load        Load      `json:"load"`
	Passed      bool      `json:"passed"`
	Problems    []string  `json:"problems"` // why it did not pass
	Aborted     string    `json:"aborted,omitempty"`
	Started     time.Time `json:"started"` // the load
	Ended       time.Time `json:"ended"`

	Detect      *float64 `json:"detect_seconds"`
	RTO         *float64 `json:"rto_seconds"`
	WritePause  float64  `json:"write_pause_seconds"`
	ErrorWindow float64  `json:"error_window_seconds"`
	StaleRead   float64  `json:"stale_read_seconds"`

	Acknowledged     int      `json:"acknowledged"`
	Failed           int      `json:"failed"`
	AcknowledgedLost *int     `json:"acknowledged_lost"` // null when not all datacenters could be asked
	LostKeys         []string `json:"lost_keys"`         // some of them
	AtRisk           int      `json:"at_risk"`
	Verified         bool     `json:"verified"`

	Objectives []Objective  `json:"objectives"`
	Steps      []StepResult `json:"steps"`
	Endpoints  []Endpoint   `json:"endpoints"`
	Events     []Event      `json:"events"`
	Timeline   []Point      `json:"timeline"`
}

// Objective is a bound and what was measured.
type Objective struct {
	Name     string   `json:"name"`
	Limit    float64  `json:"limit"` // seconds, or a number
	Measured *float64 `json:"measured"`
	Passed   bool     `json:"passed"`
}

// StepResult is what became of a step.
type StepResult struct {
	Name    string    `json:"name"`
	Started time.Time `json:"started"`
	At      float64   `json:"at_seconds"` // since the load began
	Seconds float64   `json:"seconds"`
	Outcome string    `json:"outcome"` // ok, skipped, or why it failed
}

// Outcomes of a step, besides an error's text.
const (
	outcomeOK      = "ok"
	outcomeSkipped = "skipped"
)

// Endpoint is what the clients of one datacenter saw. Times at which the drill had it down do not count for
// pauses and error windows.
type Endpoint struct {
	DC            string   `json:"dc"`
	Acknowledged  int      `json:"acknowledged"`
	Failed        int      `json:"failed"`
	WritePause    float64  `json:"write_pause_seconds"`
	WritePauseAt  float64  `json:"write_pause_at_seconds"`
	ErrorWindow   float64  `json:"error_window_seconds"`
	ErrorWindowAt *float64 `json:"error_window_at_seconds"`
	StaleRead     float64  `json:"stale_read_seconds"`
}

// Summary is a line of `geogate dr drill list`.
type Summary struct {
	ID       string    `json:"id"`
	Scenario string    `json:"scenario"`
	Cluster  string    `json:"cluster"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Passed   bool      `json:"passed"`
}

// verdict is a word for people.
func verdict(passed bool) string {
	if passed {
		return "passed"
	}
	return "FAILED"
}

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, a ...any) { _, _ = fmt.Fprintf(tw, format+"\n", a...) } // Flush reports it
	line("drill\t%s", r.ID)
	line("result\t%s", verdict(r.Passed))
	for _, p := range r.Problems {
		line("why\t%s", p)
	}
	line("acknowledged writes\t%d, lost %s, at risk %d, failed %d", r.Acknowledged, whole(r.AcknowledgedLost), r.AtRisk, r.Failed)
	line("write pause\t%.3fs", r.WritePause)
	line("error window\t%.3fs", r.ErrorWindow)
	line("detected after\t%s", secs(r.Detect))
	line("RTO\t%s", secs(r.RTO))
	line("stale reads\t%.3fs", r.StaleRead)
	line("data verified\t%t", r.Verified)
	if len(r.Objectives) > 0 {
		line("\nOBJECTIVE\tLIMIT\tMEASURED\tRESULT")
	}
	for _, o := range r.Objectives {
		line("%s\t%s\t%s\t%s", o.Name, o.text(&o.Limit), o.text(o.Measured), verdict(o.Passed))
	}
	line("\nSTEP\tAT\tTOOK\tOUTCOME")
	for _, s := range r.Steps {
		line("%s\t%.1fs\t%.1fs\t%s", s.Name, s.At, s.Seconds, s.Outcome)
	}
	line("\nENDPOINT\tACKED\tFAILED\tWRITE PAUSE\tERROR WINDOW\tSTALE READS")
	for _, e := range r.Endpoints {
		line("%s\t%d\t%d\t%.3fs\t%.3fs\t%.3fs", e.DC, e.Acknowledged, e.Failed, e.WritePause, e.ErrorWindow, e.StaleRead)
	}
	return tw.Flush()
}

// counts says whether the objective bounds a number and not a time.
func (o *Objective) counts() bool { return o.Name == objectiveLost || o.Name == objectiveRisk }

func (o *Objective) text(v *float64) string {
	switch {
	case v == nil:
		return "none"
	case o.counts():
		return fmt.Sprintf("%.0f", *v)
	}
	return fmt.Sprintf("%.3gs", *v)
}

func secs(v *float64) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprintf("%.3fs", *v)
}

func whole(n *int) string {
	if n == nil {
		return "?"
	}
	return fmt.Sprint(*n)
}
