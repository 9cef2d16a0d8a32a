// Plot draws the curves of a growth report of test/bench as one SVG file. It is a module of its own, so that
// geogate's has no need of a plotting library.
//
//	go run -C test/tools/plot . /path/to/report.json /path/to/growth.svg
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// point is the part of a row that is drawn.
type point struct {
	Axis string  `json:"axis"`
	X    float64 `json:"x"`
	Rate float64 `json:"ops_per_second"`
	P99  float64 `json:"p99_ms"`
	RSS  float64 `json:"rss_bytes_per_node"`
	DB   float64 `json:"db_bytes"`
}

// figures are the rows of the picture; each axis is a column.
var figures = []struct {
	name  string
	value func(point) float64
}{
	{"puts/s", func(p point) float64 { return p.Rate }},
	{"p99 ms", func(p point) float64 { return p.P99 }},
	{"RSS per node, MiB", func(p point) float64 { return p.RSS / (1 << 20) }},
	{"database, MiB", func(p point) float64 { return p.DB / (1 << 20) }},
}

const (
	tileWidth  = 9 * vg.Centimeter
	tileHeight = 6 * vg.Centimeter
	margin     = vg.Centimeter / 2
)

var errUsage = errors.New("want a report in JSON and the SVG file to write")

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var report struct {
		Growth []point `json:"growth"`
	}
	if err := json.Unmarshal(raw, &report); err != nil {
		return fmt.Errorf("read %s: %w", args[0], err)
	}
	if len(report.Growth) == 0 {
		return fmt.Errorf("%s has no growth rows; make it with --growth --json", args[0])
	}
	f, err := os.Create(args[1])
	if err != nil {
		return err
	}
	return errors.Join(picture(f, report.Growth), f.Close())
}

// picture tiles one plot for each figure and axis.
func picture(w io.Writer, points []point) error {
	var axes []string
	by := map[string][]point{}
	for _, p := range points {
		if by[p.Axis] == nil {
			axes = append(axes, p.Axis)
		}
		by[p.Axis] = append(by[p.Axis], p)
	}
	canvas := vgsvg.New(tileWidth*vg.Length(len(axes)), tileHeight*vg.Length(len(figures)))
	tiles := draw.Tiles{Rows: len(figures), Cols: len(axes), PadX: vg.Centimeter, PadY: vg.Centimeter, PadTop: margin, PadBottom: margin, PadLeft: margin, PadRight: margin}
	whole := draw.New(canvas)
	for i, f := range figures {
		for j, axis := range axes {
			p, err := curve(axis, f.name, by[axis], f.value)
			if err != nil {
				return err
			}
			p.Draw(tiles.At(whole, j, i))
		}
	}
	_, err := canvas.WriteTo(w)
	return err
}

// curve draws one figure over one axis. What grows by factors is drawn in factors both ways: there, what is proportional is
// as steep as the dashed line.
func curve(axis, name string, points []point, value func(point) float64) (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = axis, name
	xys := make(plotter.XYs, len(points))
	for i, q := range points {
		xys[i] = plotter.XY{X: q.X, Y: value(q)}
	}
	line, dots, err := plotter.NewLinePoints(xys)
	if err != nil {
		return nil, fmt.Errorf("draw %s over %s: %w", name, axis, err)
	}
	p.Add(plotter.NewGrid(), line, dots)
	p.Y.Min = 0
	if low, high, _, most := plotter.XYRange(xys); low <= 0 || high <= 20*low || most <= 0 {
		return p, nil
	}
	return p, inFactors(p, xys)
}

// inFactors has both axes of a plot count in factors of ten.
func inFactors(p *plot.Plot, xys plotter.XYs) error {
	low, high, least, most := plotter.XYRange(xys)
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, tens{}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, tens{}
	p.Y.Min = math.Pow10(int(math.Floor(math.Log10(least))))
	p.Y.Max = math.Pow10(int(math.Ceil(math.Log10(most * 1.01))))
	from := p.Y.Min * 1.5
	to := min(high, low*p.Y.Max/from) // leaves the plot at its upper edge
	proportional, err := plotter.NewLine(plotter.XYs{{X: low, Y: from}, {X: to, Y: from * to / low}})
	if err != nil {
		return fmt.Errorf("draw the proportional: %w", err)
	}
	proportional.Dashes = []vg.Length{vg.Points(2), vg.Points(3)}
	p.Add(proportional)
	return nil
}

// tens marks powers of ten as people write them: 10, 1 k, 1 M.
type tens struct{}

func (tens) Ticks(low, high float64) []plot.Tick {
	ticks := plot.LogTicks{Prec: -1}.Ticks(low, high)
	for i, t := range ticks {
		if t.Label == "" {
			continue
		}
		switch {
		case t.Value >= 1e6:
			ticks[i].Label = fmt.Sprintf("%g M", t.Value/1e6)
		case t.Value >= 1e3:
			ticks[i].Label = fmt.Sprintf("%g k", t.Value/1e3)
		}
	}
	return ticks
}
