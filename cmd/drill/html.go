package drill

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// A template would be shorter, but html/template finds methods by name at run time. A program with that in it keeps all
// exported methods of everything, which is a sixth more of code in the memory of each node.

//go:embed report.css
var pageStyle string

// WriteHTML writes the report as a page that needs nothing else: no scripts, no other files.
func (r *Report) WriteHTML(w io.Writer) error {
	figures, err := r.figures()
	if err != nil {
		return err
	}
	var b bytes.Buffer // nothing is written when it fails
	if err := r.page(figures).Render(&b); err != nil {
		return fmt.Errorf("make the page: %w", err)
	}
	_, err = b.WriteTo(w)
	return err
}

func (r *Report) page(figures []figure) g.Node {
	meta := func(name, content string) g.Node { return h.Meta(h.Name(name), h.Content(content)) }
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(h.Meta(h.Charset("utf-8")), meta("viewport", "width=device-width, initial-scale=1"), meta("color-scheme", "light dark"),
			h.Link(h.Rel("icon"), h.Href("data:,")), h.TitleEl(g.Textf("%s %s - geogate drill", r.Scenario, verdict(r.Passed))),
			h.StyleEl(g.Raw(pageStyle))),
		h.Body(h.Main(
			r.heading(), list("Why it did not pass", r.Problems),
			h.Div(h.Class("tiles"), g.Map(r.tiles(), tile.node)),
			r.objectives(), r.overTime(figures), r.steps(), r.endpoints(),
			list("Lost keys", r.LostKeys), r.events(), r.circumstances(),
		)),
	))
}

func (r *Report) heading() g.Node {
	const second = "2006-01-02 15:04:05 UTC"
	badge := "badge"
	if !r.Passed {
		badge += " bad"
	}
	return g.Group{
		h.Div(h.Class("head"), h.H1(g.Text(r.Scenario)), h.Span(h.ID("verdict"), h.Class(badge), g.Text(verdict(r.Passed)))),
		h.P(g.Text(r.Description)),
		soft("Cluster %s, %s, %s under load. Drill %s.", r.Cluster, r.Started.UTC().Format(second), r.Ended.Sub(r.Started).Round(time.Second), r.ID),
	}
}

// tile is one figure in large letters.
type tile struct {
	Name, Value, Note string
	Bad               bool
}

func (t tile) node() g.Node {
	class := "tile"
	if t.Bad {
		class += " bad"
	}
	return h.Div(h.Class(class), h.Span(h.Class("soft"), g.Text(t.Name)), h.B(g.Text(t.Value)), h.Span(h.Class("soft"), g.Text(t.Note)))
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

func (r *Report) objectives() g.Node {
	equal := "not proven"
	if r.Verified {
		equal = "equal"
	}
	return card("Objectives", grid(h.Tr(head("objective"), num("at most"), num("measured"), head("result")),
		g.Map(r.Objectives, func(o Objective) g.Node {
			return h.Tr(words(strings.ReplaceAll(o.Name, "_", " ")), value(o.text(&o.Limit)), value(o.text(o.Measured)), judged(o.Passed, verdict(o.Passed)))
		}),
		h.Tr(words("data equal by digest"), value(""), value(equal), judged(r.Verified, verdict(r.Verified)))))
}

func (r *Report) overTime(figures []figure) g.Node {
	legend := make(g.Group, len(r.Datacenters))
	for i, dc := range r.Datacenters {
		legend[i] = h.Span(h.I(h.Class("k"+strconv.Itoa(i%curveColours))), g.Text(dc))
	}
	return card("Over time", h.Div(h.Class("legend"), legend), soft("Dashed lines with numbers: the beginnings of the steps below."),
		g.Map(figures, func(f figure) g.Node {
			return h.Figure(h.Aria("label", f.Title), h.FigCaption(g.Text(f.Title+" "), h.Span(g.Text(f.Note))),
				h.Div(h.Class("wide"), g.Raw(f.Wide)), h.Div(h.Class("narrow"), g.Raw(f.Narrow)))
		}))
}

func (r *Report) steps() g.Node {
	rows := make(g.Group, len(r.Steps))
	for i, s := range r.Steps {
		rows[i] = h.Tr(words(strconv.Itoa(i+1)), words(s.Name), valuef("%.1fs", s.At), valuef("%.1fs", s.Seconds), judged(s.Outcome == outcomeOK, s.Outcome))
	}
	return card("Steps", grid(h.Tr(head("#"), head("step"), num("at"), num("took"), head("outcome")), rows))
}

func (r *Report) endpoints() g.Node {
	return card("Endpoints", soft("Pauses and error windows leave out the time in which the drill itself had the datacenter down."),
		grid(h.Tr(head("datacenter"), num("acked"), num("failed"), num("pause"), num("errors"), num("stale")),
			g.Map(r.Endpoints, func(e Endpoint) g.Node {
				return h.Tr(words(e.DC), valuef("%d", e.Acknowledged), valuef("%d", e.Failed), valuef("%.2fs", e.WritePause), valuef("%.2fs", e.ErrorWindow), valuef("%.2fs", e.StaleRead))
			})))
}

func (r *Report) events() g.Node {
	return g.If(len(r.Events) > 0, card("Events", grid(g.Map(r.Events, func(e Event) g.Node { return h.Tr(valuef("%.1fs", e.At), words(e.Text)) }))))
}

func (r *Report) circumstances() g.Node {
	policy := ""
	if r.Load.Policy != "" {
		policy = ", policy " + r.Load.Policy
	}
	return soft("Keyspace %q (%s), %v writes a second from %d clients in each datacenter%s. Each figure is explained in cmd/drill/README.md.",
		r.Keyspace, r.Mode, r.Load.Rate, r.Load.Writers, policy)
}
