package drill

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/wcharczuk/go-chart/v2"
)

// A chart is drawn twice, for wide screens and for phones; the page shows the one that fits. Colours come from the
// page's style sheet, by class, so that they follow the reader's light or dark scheme.
const (
	wideChart, wideHeight     = 860, 220
	narrowChart, narrowHeight = 330, 200
	chartFont                 = 11.0 // as in the style sheet, so that what is measured fits
	chartDPI                  = 72.0 // a point is a pixel

	stepTicks  = 6  // on an axis, about
	markSpace  = 16 // pixels between the numbers of steps, below which they are put together
	digitWidth = 7  // pixels
)

// figure is one chart of the page.
type figure struct {
	Title, Note  string
	Wide, Narrow string // SVG, of numbers alone: the page takes it as it is
}

// quantity is what a chart shows of a point; nil is nothing.
type quantity struct {
	title, note string
	of          func(p *Point) *float64
	needed      bool // shown although it is 0 everywhere
	rate        bool // the last half second, which is not a whole one, is left out
}

func quantities() []quantity {
	rate := func(n int) *float64 {
		f := float64(n) / bucket.Seconds()
		return &f
	}
	return []quantity{
		{"Acknowledged writes per second", "at each datacenter's endpoint", func(p *Point) *float64 { return rate(p.Acknowledged) }, true, true},
		{"Failed writes per second", "counted when the client gave up", func(p *Point) *float64 { return rate(p.Failed) }, false, true},
		{"Slowest write, ms", "of each half second", func(p *Point) *float64 { return p.Max }, true, false},
		{"Median write, ms", "of each half second", func(p *Point) *float64 { return p.P50 }, true, false},
		{"Stale reads, ms", "for how long something acknowledged elsewhere could not be read here", func(p *Point) *float64 { return p.Stale }, false, false},
	}
}

// figures draws all charts of a report.
func (r *Report) figures() ([]figure, error) {
	var out []figure
	for _, q := range quantities() {
		curves, most := r.curves(q)
		if !q.needed && most == 0 || len(curves) == 0 {
			continue
		}
		f := figure{Title: q.title, Note: q.note}
		var err error
		if f.Wide, err = r.draw(curves, most, wideChart, wideHeight); err != nil {
			return nil, err
		}
		if f.Narrow, err = r.draw(curves, most, narrowChart, narrowHeight); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// curves are the lines of each datacenter, broken where there is nothing to show, and their greatest value.
func (r *Report) curves(q quantity) (out []chart.Series, most float64) {
	for d, dc := range r.Datacenters {
		var line *chart.ContinuousSeries
		for i := range r.Timeline {
			p := &r.Timeline[i]
			if p.DC != dc || q.rate && p.At+bucket.Seconds() >= r.length() {
				continue
			}
			v := q.of(p)
			if v == nil {
				line = nil
				continue
			}
			if line == nil {
				line = &chart.ContinuousSeries{Style: chart.Style{ClassName: "c" + strconv.Itoa(d%curveColours), StrokeColor: chart.ColorBlack, StrokeWidth: 2}}
				out = append(out, line)
			}
			line.XValues, line.YValues = append(line.XValues, p.At+bucket.Seconds()/2), append(line.YValues, *v)
			most = max(most, *v)
		}
	}
	return out, most
}

// curveColours is how many the style sheet has.
const curveColours = 6

// length is that of the timeline.
func (r *Report) length() float64 {
	if n := len(r.Timeline); n > 0 {
		return r.Timeline[n-1].At + bucket.Seconds()
	}
	return bucket.Seconds()
}

func (r *Report) draw(curves []chart.Series, most float64, width, height int) (string, error) {
	class := func(name string) chart.Style {
		return chart.Style{ClassName: name, StrokeColor: chart.ColorBlack, StrokeWidth: 1, FontSize: chartFont}
	}
	yTicks := ticks(most)
	c := chart.Chart{
		Width: width, Height: height, DPI: chartDPI, Series: curves,
		Background: chart.Style{ClassName: "back", Padding: chart.Box{Top: 22, Left: 4, Right: 10, Bottom: 4}},
		Canvas:     chart.Style{ClassName: "back"},
		XAxis: chart.XAxis{
			Style: class("axis"), Ticks: named(ticks(r.length()), r.length(), "s"),
			Range: &chart.ContinuousRange{Min: 0, Max: r.length()},
		},
		YAxis: chart.YAxis{
			Style: class("axis"), AxisType: chart.YAxisSecondary, Ticks: named(yTicks, math.Inf(1), ""), GridMajorStyle: class("grid"),
			Range: &chart.ContinuousRange{Min: 0, Max: yTicks[len(yTicks)-1]},
		},
		Elements: []chart.Renderable{r.marks},
	}
	for _, v := range yTicks[1:] {
		c.YAxis.GridLines = append(c.YAxis.GridLines, chart.GridLine{Value: v})
	}
	var b bytes.Buffer
	if err := c.Render(chart.SVG, &b); err != nil {
		return "", fmt.Errorf("draw a chart: %w", err)
	}
	return b.String(), nil
}

// marks draws a line where steps begin, with their numbers in the table of steps.
func (r *Report) marks(to chart.Renderer, canvas chart.Box, _ chart.Style) {
	to.SetStrokeWidth(1)
	to.SetFontSize(chartFont)
	last, label := -2*markSpace, ""
	flush := func() {
		if label == "" {
			return
		}
		to.SetClassName("mark")
		to.SetStrokeColor(chart.ColorBlack)
		to.MoveTo(last, canvas.Top-4)
		to.LineTo(last, canvas.Bottom)
		to.Stroke()
		to.SetClassName("step")
		to.Text(label, last-3, canvas.Top-8)
	}
	for i, s := range r.Steps {
		x := canvas.Left + int(s.At/r.length()*float64(canvas.Width()))
		if s.Outcome == outcomeSkipped || x > canvas.Right {
			continue
		}
		if number := strconv.Itoa(i + 1); x-last < markSpace+digitWidth*(len(label)-1) {
			first, _, _ := bytes.Cut([]byte(label), []byte("-"))
			label = string(first) + "-" + number
		} else {
			flush()
			last, label = x, number
		}
	}
	flush()
}

// ticks are round numbers from 0 to the first one at most or above.
func ticks(most float64) []float64 {
	most = max(most, 1)
	raw := most / stepTicks
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	step := unit * 10
	for _, m := range []float64{1, 2, 5} {
		if unit*m >= raw {
			step = unit * m
			break
		}
	}
	out := []float64{0}
	for v := step; ; v += step {
		out = append(out, v)
		if v >= most {
			return out
		}
	}
}

// named are the ticks up to a limit, where the axis ends.
func named(values []float64, limit float64, unit string) (out []chart.Tick) {
	for _, v := range values {
		if v <= limit {
			out = append(out, chart.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 6, 64) + unit})
		}
	}
	if !math.IsInf(limit, 0) { // the axis ends at its last tick
		out = append(out, chart.Tick{Value: limit})
	}
	return out
}
