package skew

import (
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func clocks(skews ...time.Duration) (of []Measurement) {
	for i, s := range skews {
		of = append(of, Measurement{Peer: string(rune('b' + i)), Skew: s})
	}
	return of
}

func TestAhead(t *testing.T) {
	for name, c := range map[string]struct {
		of   []Measurement
		want time.Duration
	}{
		"one peer":                           {clocks(-time.Hour), time.Hour},
		"two that agree":                     {clocks(-time.Hour, -time.Hour), time.Hour},
		"two, one of them behind":            {clocks(-time.Hour, 0), 0},
		"two, one of them ahead":             {clocks(time.Hour, 0), -time.Hour},
		"three, one of them far behind":      {clocks(-time.Hour, 1*ms, 2*ms), -1 * ms},
		"three, one of them far ahead":       {clocks(-3*ms, time.Hour, -2*ms), 2 * ms},
		"four, two of them behind":           {clocks(-time.Hour, -time.Hour, 0, 0), 0},
		"this one is behind":                 {clocks(time.Hour, time.Hour), -time.Hour},
		"what is measured ignores the error": {[]Measurement{{"b", -800 * ms, 400 * ms}}, 800 * ms},
	} {
		if got, _ := ahead(c.of); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestFence(t *testing.T) {
	limits := Limits{Max: 500 * ms, Hold: 3 * time.Second}
	type look struct {
		after time.Duration
		of    []Measurement
		want  State
	}
	for name, c := range map[string]struct {
		limits Limits
		looks  []look
	}{
		"nothing known":           {limits, []look{{0, nil, Unknown}, {time.Hour, nil, Unknown}}},
		"a little ahead":          {limits, []look{{0, clocks(-500*ms, -500*ms), Within}}},
		"ahead":                   {limits, []look{{0, clocks(-501*ms, -501*ms), Fenced}}},
		"behind":                  {limits, []look{{0, clocks(time.Hour, time.Hour), Within}}},
		"off":                     {Limits{}, []look{{0, clocks(-time.Hour), Within}}},
		"a slow answer is unsure": {limits, []look{{0, []Measurement{{"b", -800 * ms, 400 * ms}}, Within}, {1, []Measurement{{"b", -800 * ms, 200 * ms}}, Fenced}}},
		"is let off after Hold": {limits, []look{
			{0, clocks(-time.Hour), Fenced}, {10 * time.Second, clocks(0), Fenced}, {3*time.Second - 1, clocks(0), Fenced}, {1, clocks(0), Within}}},
		"half of the limit is not well within": {limits, []look{
			{0, clocks(-time.Hour), Fenced}, {time.Second, clocks(-251 * ms), Fenced}, {time.Hour, clocks(-251 * ms), Fenced},
			{time.Second, clocks(-250 * ms), Fenced}, {3 * time.Second, clocks(-250 * ms), Within}}},
		"Hold begins anew": {limits, []look{
			{0, clocks(-time.Hour), Fenced}, {1, clocks(0), Fenced}, {2 * time.Second, clocks(-400 * ms), Fenced},
			{2 * time.Second, clocks(0), Fenced}, {2 * time.Second, clocks(0), Fenced}, {time.Second, clocks(0), Within}}},
		"silence of all peers":    {limits, []look{{0, clocks(-time.Hour), Fenced}, {time.Second, nil, Unknown}, {time.Second, clocks(-time.Hour), Fenced}}},
		"one of two is silent":    {limits, []look{{0, clocks(-time.Hour, -time.Hour), Fenced}, {time.Second, clocks(-time.Hour), Fenced}}},
		"fencing is switched off": {Limits{Hold: time.Second}, []look{{0, clocks(-time.Hour), Within}}},
	} {
		at := time.Unix(1_700_000_000, 0)
		f := New(at)
		for i, l := range c.looks {
			at = at.Add(l.after)
			was := f.State
			var change *Change
			f, change = f.Step(c.limits, at, l.of)
			if f.State != l.want {
				t.Errorf("%s, look %d: %s, want %s", name, i, f.State, l.want)
			}
			if (change != nil) != (was != f.State) {
				t.Errorf("%s, look %d: from %s to %s, change %+v", name, i, was, f.State, change)
			}
			if change != nil && (change.From != was || change.To != f.State || change.Reason == "" || f.Since != at) {
				t.Errorf("%s, look %d: change %+v of %+v", name, i, change, f)
			}
		}
	}
}

func TestFenceSaysWhy(t *testing.T) {
	_, c := New(time.Time{}).Step(Limits{Max: 500 * ms}, time.Unix(9, 0), clocks(-time.Hour, -time.Hour))
	if want := "the clock is 1h0m0s ahead of the median of its peers (b, c), more than 500ms"; c == nil || c.Reason != want {
		t.Errorf("got %+v, want %q", c, want)
	}
	f, _ := New(time.Time{}).Step(Limits{}, time.Unix(9, 0), clocks(time.Hour))
	if !strings.Contains(f.Describe(), "1h0m0s behind the median") {
		t.Error(f.Describe())
	}
}
