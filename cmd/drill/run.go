package drill

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"geogate/cmd/dev"
	"geogate/cmd/status"
	"geogate/configs"
)

const (
	guardInterval = 250 * time.Millisecond // between two looks whether the drill should be ended
	drainTime     = time.Second            // for the load's last writes before it is cut off
	minUndo       = 2 * time.Minute        // for putting everything back
)

// drill is one that runs. It belongs to the goroutine of Run, but for what is safe by itself.
type drill struct {
	cfg      Config
	scenario Scenario // with the names of datacenters filled in
	id       string
	sites    []*site
	dcs      []string
	keyspace configs.Keyspace

	book  *book
	watch *watch

	before dev.State // of a dev cluster
	home   string    // before; "" in a multi-writer keyspace
	down   map[string]bool
	moved  bool
	steps  []StepResult
}

// Run carries a drill out and puts the cluster back as it was, also when ctx ends or the drill fails; then the error
// is [ErrFailed], and the report says why. Without a report nothing was done.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d, err := prepare(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer shut(d.sites)
	r := d.run(ctx)
	if !r.Passed {
		return r, fmt.Errorf("%w: %s", ErrFailed, strings.Join(r.Problems, "; "))
	}
	return r, nil
}

// prepare finds out what there is, and whether a drill may begin.
func prepare(ctx context.Context, cfg Config) (_ *drill, err error) {
	d := &drill{cfg: cfg, scenario: *cfg.Scenario, dcs: cfg.Topology.DataNames(), down: map[string]bool{}}
	d.scenario.Steps = append([]Step(nil), cfg.Scenario.Steps...)
	if cfg.Prefix != "" {
		d.scenario.Prefix = cfg.Prefix
	}
	if err := d.scenario.fits(len(d.dcs)); err != nil {
		return nil, err
	}
	d.keyspace = cfg.Topology.Keyspace(d.scenario.Prefix)
	if err := d.movable(); err != nil {
		return nil, err
	}
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails
	d.id = time.Now().UTC().Format("20060102T150405") + "-" + d.scenario.Name + "-" + hex.EncodeToString(random[:])
	if d.sites, err = cfg.open(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			shut(d.sites)
		}
	}()
	cfg.Progress("looking whether the cluster is in a state for a drill")
	if err := d.letIn(ctx); err != nil {
		return nil, err
	}
	reasons := d.patientPrecheck(ctx)
	if err := d.scenario.resolve(d.dcs, d.home); err != nil {
		return nil, err
	}
	switch {
	case len(reasons) > 0 && !cfg.Anyway:
		return nil, fmt.Errorf("%w, and nothing was done (--anyway begins in spite of it):\n  %s", ErrRefused, strings.Join(reasons, "\n  "))
	case len(reasons) > 0:
		cfg.Progress("beginning in spite of: " + strings.Join(reasons, "; "))
	}
	return d, nil
}

// single says whether one datacenter at a time orders the writes.
func (d *drill) single() bool { return d.keyspace.Mode == configs.SingleWriter }

// movable refuses moves of a home that there is not.
func (d *drill) movable() error {
	for i := range d.scenario.Steps {
		if s := &d.scenario.Steps[i]; s.movesHome() && !d.single() {
			return fmt.Errorf("%w: steps[%d] is %q, and the prefix %s lies in keyspace %q, which every datacenter writes; name a prefix in a single-writer "+
				"keyspace with --prefix, or add a canary to the topology: {prefix: %s, mode: single-writer, home: %s}",
				ErrScenario, i, s, d.scenario.Prefix, d.keyspace.Prefix, d.scenario.Prefix, d.dcs[0])
		}
	}
	return nil
}

// run does the drill and makes its report.
func (d *drill) run(ctx context.Context) *Report {
	start := time.Now()
	d.book = newBook(d.dcs, d.scenario.Prefix+d.id+"/", d.single(), start)
	d.watch = newWatch(d)
	watchCtx, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	for i, s := range d.sites {
		watching.Go(func() { d.watch.run(watchCtx, i, s) })
	}
	r := d.newReport(start)

	d.cfg.Progress("drill " + d.id + " begins")
	err := d.work(ctx)
	d.measure(r)
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
		if errors.Is(err, errAborted) {
			r.Aborted = err.Error()
		}
	}
	// What was begun is ended, whatever ctx says.
	limit := max(minUndo, 2*d.scenario.StepLimit)
	undoCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	r.Problems = append(r.Problems, d.undo(undoCtx)...)
	cancel()
	checkCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	r.Problems = append(r.Problems, d.check(checkCtx, r)...)
	cancel()

	stopWatching()
	watching.Wait()
	d.finish(r)
	return r
}

// work runs the steps under load, within their time.
func (d *drill) work(ctx context.Context) error {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, d.scenario.TimeLimit, fmt.Errorf("%w: the time limit of %s is over", errAborted, d.scenario.TimeLimit))
	defer cancel()

	// The load goes on for a moment after the steps, so that what is under way then is answered and counts.
	loadCtx, stopLoad := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoad()
	l := startLoad(loadCtx, d.scenario.Load, d.sites, d.book)
	var guarding sync.WaitGroup
	guarding.Go(func() { d.guard(ctx, abort) })

	err := d.doSteps(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errAborted) {
		cause = fmt.Errorf("%w: the command was told to stop", errAborted)
		err = cause
	} else if cause != nil {
		err = cause
	}
	abort(nil)
	guarding.Wait()
	l.drain(drainTime)
	return err
}

// guard ends the steps when an objective is missed by a lot.
func (d *drill) guard(ctx context.Context, abort context.CancelCauseFunc) {
	tick := time.NewTicker(guardInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			pause, window := d.book.worst(now)
			if why := d.scenario.Objectives.hopeless(d.scenario.AbortFactor, pause, window); why != "" {
				abort(fmt.Errorf("%w: %s", errAborted, why))
				return
			}
		}
	}
}

// doSteps does one after the other, and stops at the first that fails.
func (d *drill) doSteps(ctx context.Context) error {
	for i := range d.scenario.Steps {
		s := &d.scenario.Steps[i]
		err := d.record(ctx, s.String(), func(ctx context.Context) error { return d.step(ctx, s) })
		if err == nil {
			continue
		}
		for j := range d.scenario.Steps[i+1:] {
			d.steps = append(d.steps, StepResult{
				Name: d.scenario.Steps[i+1+j].String(), Started: time.Now(), At: seconds(time.Since(d.book.start)), Outcome: outcomeSkipped,
			})
		}
		return fmt.Errorf("step %q: %w", s.String(), err)
	}
	return nil
}

// record does something and keeps how it went.
func (d *drill) record(ctx context.Context, name string, do func(context.Context) error) error {
	began := time.Now()
	d.cfg.Progress(name)
	err := do(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	r := StepResult{Name: name, Started: began, At: seconds(began.Sub(d.book.start)), Seconds: seconds(time.Since(began)), Outcome: outcomeOK}
	if err != nil {
		r.Outcome = err.Error()
		d.cfg.Progress(name + ": " + err.Error())
	}
	d.steps = append(d.steps, r)
	return err
}

func newWatch(d *drill) *watch {
	return &watch{
		book: d.book, tell: d.cfg.Progress, homes: d.single(), keys: d.keyspace.Prefix, home: d.home,
		reports: make([]*status.Report, len(d.sites)),
	}
}
