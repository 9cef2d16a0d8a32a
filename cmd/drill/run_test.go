package drill

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// waiting is a drill without datacenters that waits for an hour, twice.
func waiting(limit time.Duration) *drill {
	s := defaults()
	s.TimeLimit, s.Steps = limit, []Step{{Wait: time.Hour}, {Wait: time.Hour}}
	d := &drill{cfg: Config{}.withDefaults(), scenario: s, book: newBook(nil, "/p/", false, time.Now())}
	d.watch = newWatch(d)
	return d
}

func TestTheTimeLimitEndsADrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, began := waiting(90*time.Minute), time.Now()
		err := d.work(t.Context())
		if !errors.Is(err, errAborted) || !strings.Contains(err.Error(), "the time limit of 1h30m0s is over") {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(began); took != 90*time.Minute+drainTime {
			t.Errorf("took %s", took)
		}
		if len(d.steps) != 2 || d.steps[0].Outcome != outcomeOK || d.steps[1].Outcome != err.Error() {
			t.Errorf("steps: %+v", d.steps)
		}
	})
}

func TestADrillThatIsToldToStopEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, began := waiting(maxTimeLimit), time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		err := d.work(ctx)
		if !errors.Is(err, errAborted) || !strings.Contains(err.Error(), "told to stop") || time.Since(began) != time.Minute+drainTime {
			t.Errorf("ended with %v after %s", err, time.Since(began))
		}
		if len(d.steps) != 2 || d.steps[1].Outcome != outcomeSkipped {
			t.Errorf("steps: %+v", d.steps)
		}
	})
}

func TestAStepThatFailsSkipsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := waiting(maxTimeLimit)
		d.book.begin(&fault{what: "kill mars", sees: func(string, string) bool { return false }})
		d.scenario.Steps[0] = Step{WaitFor: untilDetected}
		err := d.work(t.Context())
		if err == nil || errors.Is(err, errAborted) || !strings.Contains(err.Error(), "not detected within 1m0s: no datacenter holds it to be down: kill mars") {
			t.Errorf("ended with %v", err)
		}
		if len(d.steps) != 2 || d.steps[1].Outcome != outcomeSkipped {
			t.Errorf("steps: %+v", d.steps)
		}
	})
}
