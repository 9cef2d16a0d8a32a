package registrar

import (
	"context"
	"fmt"
	"sync"
	"time"

	"geogate/replication/homes"
)

// drive sends what a proposer has due, and hands it the answers.
type drive struct {
	a       *attempt
	m       *homes.Move
	cfg     *Config
	sends   map[sendKey]*sending // of the present phase
	results chan result
	running sync.WaitGroup
	last    homes.Phase // the last one before the end
	why     string      // it was given up
}

type sendKey struct {
	to    string
	kind  homes.Kind
	phase homes.Phase
}

// sending is a command that has no answer yet.
type sending struct {
	flying bool
	due    time.Time
	retry  backoff
	said   string
}

type result struct {
	key   sendKey
	reply homes.Reply
	err   error
}

func newDrive(a *attempt, m *homes.Move) *drive {
	n := 4 * len(a.k.r.cfg.Voters) // more than can be in flight: one per acceptor, kind and phase
	return &drive{a: a, m: m, cfg: &a.k.r.cfg, sends: map[sendKey]*sending{}, results: make(chan result, n)}
}

// run returns when the move is over: decided, lost or given up; or with an error, when its outcome is open.
func (d *drive) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer d.running.Wait()
	defer cancel()
	tick := time.NewTicker(max(d.cfg.LookInterval/4, time.Millisecond))
	defer tick.Stop()
	abort := d.a.abort
	phase := homes.Phase(255)
	for {
		if p := d.m.Phase(); p != phase {
			if err := d.enter(p); err != nil {
				return err
			}
			phase = p
		}
		if phase == homes.Announcing || phase == homes.Aborted || phase == homes.Lost {
			return nil
		}
		d.last = phase
		d.sendDue(ctx)
		d.fetch()
		if d.m.Phase() != phase {
			continue
		}
		select {
		case r := <-d.results:
			d.take(r)
		case <-tick.C:
			d.watchTime()
		case <-abort:
			abort = nil
			if err := d.m.Abort(); err == nil && d.why == "" {
				d.why = "an operator asked for it"
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: this node does not lead its datacenter any more; it stood at %s", ErrOpen, phase)
		}
	}
}

// enter is the beginning of a phase.
func (d *drive) enter(p homes.Phase) error {
	k := d.a.k
	if d.cfg.Point != nil {
		if err := d.cfg.Point(k.cfg.Prefix, p); err != nil {
			return fmt.Errorf("%w: %w", errStopped, err)
		}
	}
	if p == homes.Conceding {
		k.concede(d.a.status.Epoch) // before the command is proposed
	}
	k.mu.Lock()
	if v, ok := d.m.Decided(); ok && p == homes.Announcing {
		d.a.status.Home, d.a.status.Decided, d.a.status.DecidedAt = v.Home.DC, v.Epoch, d.cfg.Clock()
	}
	d.a.status.Phase, d.a.status.Waiting, d.a.status.Lacks = p.String(), nil, nil
	k.mu.Unlock()
	k.r.cfg.Logger.Info("move of a home", "keyspace", k.cfg.Prefix, "kind", string(d.a.kind), "phase", p.String())
	return nil
}

// sendDue sends every command that waits for an answer and is not under way.
func (d *drive) sendDue(ctx context.Context) {
	now := d.cfg.Clock()
	phase := d.m.Phase()
	var waiting []Waiting
	for _, s := range d.m.Due() {
		key := sendKey{s.To, s.Command.Kind, phase}
		x := d.sends[key]
		if x == nil {
			x = &sending{retry: backoff{min: d.cfg.RetryMin, max: d.cfg.RetryMax, random: d.cfg.Random}}
			d.sends[key] = x
		}
		waiting = append(waiting, Waiting{DC: s.To, Said: x.said})
		if x.flying || now.Before(x.due) {
			continue
		}
		x.flying = true
		d.running.Go(func() {
			reply, err := d.a.k.command(ctx, s.To, s.Command)
			select {
			case d.results <- result{key, reply, err}:
			case <-ctx.Done():
			}
		})
	}
	d.a.k.mu.Lock()
	d.a.status.Waiting = waiting
	d.a.k.mu.Unlock()
}

func (d *drive) take(r result) {
	x := d.sends[r.key]
	x.flying, x.due = false, d.cfg.Clock().Add(x.retry.next())
	if r.err != nil {
		x.said = r.err.Error()
		return
	}
	x.said = r.reply.Answer.String()
	d.m.Step(r.key.to, r.reply)
}

// fetch sees to it that the next home gets what it lacks, and tells the proposer when it has.
func (d *drive) fetch() {
	needs := d.m.Needs()
	if needs == nil {
		return
	}
	k := d.a.k
	var lacks []Lack
	for _, t := range needs {
		if k.has(d.a.target.DC, t) {
			continue
		}
		have, _ := k.applied(d.a.target.DC, t.Home)
		lacks = append(lacks, Lack{Origin: t.Home.DC, Have: have, Need: t.Cut})
	}
	k.mu.Lock()
	d.a.status.Lacks = lacks
	k.mu.Unlock()
	if len(lacks) == 0 {
		d.m.Fetched()
		return
	}
	if d.m.Phase() == homes.Fetching {
		k.r.cfg.Carrier.Bring(needs)
	}
}

// watchTime gives up what can be given up at the deadline.
func (d *drive) watchTime() {
	if d.cfg.Clock().Before(d.a.status.Deadline) || d.why != "" {
		return
	}
	d.why = "its deadline has passed; " + d.stood()
	if p := d.m.Phase(); p == homes.Claiming || p == homes.Preparing {
		d.why += fmt.Sprintf(". A failover needs a majority, %d of the %d datacenters. Bring one more back and try again; if they are lost for good, "+
			"`geogate dr failover --force` does without them and says what that loses. Until the home or another try ends what was begun, the home may take no writes",
			d.cfg.majority(), len(d.cfg.Voters))
	}
	if err := d.m.Abort(); err != nil {
		d.cfg.Logger.Warn("the deadline of a move has passed, and it is proposed already: it goes on", "keyspace", d.a.k.cfg.Prefix, "phase", d.m.Phase().String())
	}
}

// stood says what the move waited for.
func (d *drive) stood() string {
	d.a.k.mu.Lock()
	defer d.a.k.mu.Unlock()
	text := "it waited for"
	for _, w := range d.a.status.Waiting {
		text += fmt.Sprintf(" %s (%s)", w.DC, w.Said)
	}
	for _, l := range d.a.status.Lacks {
		text += fmt.Sprintf(" revisions %d to %d of %s at %s", l.Have, l.Need, l.Origin, d.a.target.DC)
	}
	return text
}
