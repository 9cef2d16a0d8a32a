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
	plots := make([][]*plot.Plot, len(figures))
	for i, f := range figures {
		for _, axis := range axes {
			p, err := curve(axis, f.name, by[axis], f.value)
			if err != nil {
				return err
			}
			plots[i] = append(plots[i], p)
		}
	}
	canvas := vgsvg.New(tileWidth*vg.Length(len(axes)), tileHeight*vg.Length(len(figures)))
	tiles := draw.Tiles{Rows: len(figures), Cols: len(axes), PadX: vg.Centimeter, PadY: vg.Centimeter}
	for i, row := range plot.Align(plots, tiles, draw.New(canvas)) {
		for j, c := range row {
			plots[i][j].Draw(c)
		}
	}
	_, err := canvas.WriteTo(w)
	return err
}

func curve(axis, name string, points []point, value func(point) float64) (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = axis, name
	p.Y.Min = 0
	xys := make(plotter.XYs, len(points))
	low, high := points[0].X, points[0].X
	for i, q := range points {
		xys[i] = plotter.XY{X: q.X, Y: value(q)}
		low, high = min(low, q.X), max(high, q.X)
	}
	if low > 0 && high > 20*low { // keys and bytes grow by factors
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	line, dots, err := plotter.NewLinePoints(xys)
	if err != nil {
		return nil, fmt.Errorf("draw %s over %s: %w", name, axis, err)
	}
	p.Add(plotter.NewGrid(), line, dots)
	p.Y.Min = 0
	return p, nil
}
