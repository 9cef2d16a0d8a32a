package check

import (
	"fmt"
	"slices"
	"time"
)

// Point is a measurement at a time.
type Point struct {
	At    time.Duration
	Value float64
}

// Trend is what a line through points says: the growth from the first to the last, by least squares, and the
// mean.
func Trend(points []Point) (growth, mean float64) {
	if len(points) < 2 {
		return 0, 0
	}
	var x, y, xx, xy float64
	n := float64(len(points))
	for _, p := range points {
		at := p.At.Seconds()
		x, y, xx, xy = x+at, y+p.Value, xx+at*at, xy+at*p.Value
	}
	mean = y / n
	if d := n*xx - x*x; d > 0 {
		growth = (n*xy - x*y) / d * (points[len(points)-1].At - points[0].At).Seconds()
	}
	return growth, mean
}

// Flat checks that a series grows by no more than a part of its mean, or by slack where that is more, over
// the time that it covers.
func Flat(what string, points []Point, part, slack float64) []string {
	growth, mean := Trend(points)
	if may := max(part*mean, slack); len(points) < 10 || growth > may {
		return []string{fmt.Sprintf("%s: %d points, grows by %.3g around %.3g, may by %.3g", what, len(points), growth, mean, may)}
	}
	return nil
}

// Quantile is the value below which a part of the durations lies; it sorts them.
func Quantile(d []time.Duration, part float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(part*float64(len(d))))]
}
