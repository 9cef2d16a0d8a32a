package drill

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed report.html.tmpl
var pageText string

// page is what the template sees.
type page struct {
	*Report
	Figures []figure
	Tiles   []tile
}

// tile is one figure in large letters.
type tile struct {
	Name, Value, Note string
	Bad               bool
}

// WriteHTML writes the report as a page that needs nothing else: no scripts, no other files.
func (r *Report) WriteHTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"add": func(a, b int) int { return a + b }, "secs": secs, "utc": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"colour": func(i int) int { return i % curveColours }, "verdict": verdict, "took": func(a, b time.Time) string { return b.Sub(a).Round(time.Second).String() },
		"limit": func(o Objective) string { return o.text(&o.Limit) }, "measured": func(o Objective) string { return o.text(o.Measured) },
		"words": func(name string) string { return strings.ReplaceAll(name, "_", " ") },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("the page's template: %w", err)
	}
	figures, err := r.figures()
	if err != nil {
		return err
	}
	var b bytes.Buffer // nothing is written when it fails
	if err := t.Execute(&b, page{r, figures, r.tiles()}); err != nil {
		return fmt.Errorf("make the page: %w", err)
	}
	_, err = b.WriteTo(w)
	return err
}

// tiles are the figures that matter most; one whose objective was missed is bad.
func (r *Report) tiles() []tile {
	bad := map[string]bool{}
	for _, o := range r.Objectives {
		bad[o.Name] = !o.Passed
	}
	return []tile{
		{"Acknowledged writes", fmt.Sprint(r.Acknowledged), fmt.Sprintf("%d failed", r.Failed), false},
		{"Acknowledged, lost", whole(r.AcknowledgedLost), "looked for everywhere", bad[objectiveLost]},
		{"At risk", fmt.Sprint(r.AtRisk), "in one datacenter at the fault", bad[objectiveRisk]},
		{"Recovery time", secs(r.RTO), "first failure to next success", bad[objectiveRTO]},
		{"Write pause", secs(&r.WritePause), "longest at an endpoint", bad[objectivePause]},
		{"Error window", secs(&r.ErrorWindow), "longest at an endpoint", bad[objectiveWindow]},
		{"Detected after", secs(r.Detect), "until a peer was held to be down", bad[objectiveDetect]},
		{"Stale reads", secs(&r.StaleRead), "oldest answer", bad[objectiveStale]},
	}
}
