package health

import (
	"testing"
	"time"
)

func TestCause(t *testing.T) {
	now, old := 100*time.Millisecond, 5*time.Second
	hears := func(dc string) Opinion { return Opinion{DC: dc, State: Healthy, Ack: &now, Contact: &now} }
	deaf := func(dc string) Opinion { return Opinion{DC: dc, State: Down, Ack: &old, Contact: &old} }
	for name, c := range map[string]struct {
		of     Evidence
		want   Cause
		detail string
	}{
		"both ways":                  {Evidence{Acks: true, Answers: true}, NoCause, ""},
		"both ways, others are deaf": {Evidence{Acks: true, Answers: true, Others: []Opinion{deaf("c")}}, NoCause, ""},
		"it does not reach us": {Evidence{Answers: true, Others: []Opinion{hears("c")}}, OneWay,
			"this datacenter reaches it, it does not reach this datacenter"},
		"we do not reach it": {Evidence{Acks: true}, OneWay, "it reaches this datacenter, this datacenter does not reach it"},
		"both ways, but our acks don't arrive": {Evidence{Acks: true, Answers: true, Mine: &Opinion{DC: "b", Ack: &old, Contact: &now}}, OneWay,
			"it answers, but says that no ack of this datacenter arrives there"},
		"silent, one other hears it":            {Evidence{Others: []Opinion{hears("c"), deaf("d")}}, LinkBroken, "c hears it"},
		"silent, others hear it":                {Evidence{Others: []Opinion{hears("d"), hears("c")}}, LinkBroken, "c, d hear it"},
		"silent, nobody hears it":               {Evidence{Others: []Opinion{deaf("d"), deaf("c")}}, PeerDown, "not heard by c, d either"},
		"silent, was never heard":               {Evidence{Others: []Opinion{{DC: "c"}}}, PeerDown, "not heard by c either"},
		"silent, nobody can be asked":           {Evidence{}, Undecided, "no other datacenter can be asked"},
		"what it last said of us means nothing": {Evidence{Mine: new(hears("b")), Others: []Opinion{deaf("c")}}, PeerDown, "not heard by c either"},
	} {
		c.of.Within = time.Second
		if got, detail := c.of.Judge(); got != c.want || detail != c.detail {
			t.Errorf("%s: %q (%s), want %q (%s)", name, got, detail, c.want, c.detail)
		}
	}
}

func TestVerdictWaits(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	both := Evidence{Acks: true, Answers: true, Within: time.Second}
	acks, none := both, both
	acks.Answers, none.Acks, none.Answers = false, false, false
	var v Verdict
	for i, s := range []struct {
		at      int // ms
		of      Evidence
		want    Cause
		changed bool
	}{
		{0, both, NoCause, false},
		{1000, acks, NoCause, false}, // one direction falls silent a moment before the other
		{1500, none, NoCause, false},
		{2000, acks, NoCause, false},
		{2500, none, NoCause, false},
		{3500, none, Undecided, true},
		{3600, none, Undecided, false},
		{4000, both, Undecided, false},
		{4100, none, Undecided, false},
		{4200, both, Undecided, false},
		{5200, both, NoCause, true},
	} {
		var changed bool
		v, changed = v.Step(time.Second, start.Add(time.Duration(s.at)*time.Millisecond), s.of)
		if v.Cause != s.want || changed != s.changed {
			t.Errorf("step %d: %q, changed %v", i, v.Cause, changed)
		}
	}
}
