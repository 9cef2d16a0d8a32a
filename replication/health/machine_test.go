package health

import (
	"strings"
	"testing"
	"time"
)

var limits = Limits{
	SuspectAfter: time.Second, DownAfter: 3 * time.Second, StallAfter: 2 * time.Second, StallDownAfter: 6 * time.Second,
	RecoverAfter: 500 * time.Millisecond,
}

// script runs a machine over steps of 100 ms. Each letter is one step: a an ack with progress, h a
// heartbeat without, '.' silence; a digit repeats the letter before it that many tens of times more.
func script(t *testing.T, text string, behind bool) (states string, events []Event) {
	t.Helper()
	at := time.Unix(1_700_000_000, 0)
	m := New(at)
	o := Observation{}
	step := func(c rune) {
		at = at.Add(100 * time.Millisecond)
		o.At, o.Behind = at, behind
		switch c {
		case 'a':
			o.Contact = at
			o.Acked++
		case 'h':
			o.Contact = at
		}
		var e *Event
		if m, e = m.Step(limits, o); e != nil {
			events = append(events, *e)
			states += string(e.To.String()[0])
		}
	}
	last := '.'
	for _, c := range text {
		if c >= '0' && c <= '9' {
			for range 10 * int(c-'0') {
				step(last)
			}
			continue
		}
		last = c
		step(c)
	}
	return states, events
}

func TestMachine(t *testing.T) {
	for _, c := range []struct {
		name, script string
		behind       bool
		want         string // first letters of the states entered
	}{
		{"starts suspected, healthy at the first heartbeat", "h", false, "h"},
		{"never heard: down, not earlier than DownAfter", ".2.....", false, ""},
		{"never heard: down", ".3", false, "d"},
		{"a hiccup", "a.1h", false, "hsh"},
		{"short pauses are nothing", "a....h....h....h", false, "h"},
		{"silence", "a.3", false, "hsd"},
		{"comes back", "a.3hhhhhh", false, "hsdrh"},
		{"comes back and goes again before it is steady", "a.3hh.1", false, "hsdrs"},
		{"comes back and goes for good", "a.3hh.3", false, "hsdrsd"},
		{"idle heartbeats are fine", "ah9", false, "h"},
		{"stuck: suspected", "ah2", true, "hs"},
		{"stuck: down", "ah6", true, "hsd"},
		{"stuck, then moves", "ah3a", true, "hsh"},
		{"stuck and down, then moves", "ah6aaaaaaa", true, "hsdrh"},
		{"stuck and down stays so on heartbeats", "ah9", true, "hsd"},
		{"back after silence it gets time to move", "a.3hhhhhh", true, "hsdrh"},
		{"back after silence but stuck", "a.3h2", true, "hsdrhs"},
	} {
		if got, events := script(t, c.script, c.behind); got != c.want {
			t.Errorf("%s: %q went %q, want %q: %+v", c.name, c.script, got, c.want, events)
		}
	}
}

func TestEventsSayWhy(t *testing.T) {
	_, events := script(t, "a.3hhhhhh", false)
	for i, want := range []string{"heartbeats and progress", "no heartbeat for 1s", "no heartbeat for 3s", "heard from again", "steady for 500ms"} {
		if events[i].Reason != want {
			t.Errorf("event %d: %q, want %q", i, events[i].Reason, want)
		}
		if i > 0 && (events[i].From != events[i-1].To || !events[i].At.After(events[i-1].At)) {
			t.Errorf("event %d does not follow the one before: %+v", i, events[i])
		}
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := limits.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []func(*Limits){
		func(l *Limits) { l.SuspectAfter = 0 },
		func(l *Limits) { l.DownAfter = l.SuspectAfter },
		func(l *Limits) { l.StallAfter = 0 },
		func(l *Limits) { l.StallDownAfter = l.StallAfter },
		func(l *Limits) { l.RecoverAfter = 0 },
	} {
		l := limits
		bad(&l)
		if l.Validate() == nil {
			t.Errorf("accepted %+v", l)
		}
	}
}

func TestRing(t *testing.T) {
	r := Ring{Size: 3}
	for i := range 5 {
		r.Add(Event{Reason: string(rune('a' + i))})
	}
	var got []string
	for _, e := range r.Events() {
		got = append(got, e.Reason)
	}
	if strings.Join(got, "") != "cde" {
		t.Errorf("kept %v", got)
	}
	(&Ring{}).Add(Event{})
}
