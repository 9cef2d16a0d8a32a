package registrar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"geogate/replication/homes"
)

// MoveKind says why a move was begun.
type MoveKind string

// The kinds of moves.
const (
	Switchover MoveKind = "switchover" // an operator's; loses nothing
	Failover   MoveKind = "failover"   // an operator's, without the home
	Automatic  MoveKind = "automatic"  // a failover because the home is down
	Founding   MoveKind = "founding"   // the first home
	Reclaiming MoveKind = "reclaiming" // ends a move that was left open
	Confirming MoveKind = "confirming" // puts a forced home to the vote
)

// MoveStatus is a move at this datacenter, under way or ended.
type MoveStatus struct {
	ID       uint64    `json:"id"`
	Keyspace string    `json:"keyspace"`
	Kind     MoveKind  `json:"kind"`
	From     string    `json:"from"` // the home that was known when it began; empty for none
	To       string    `json:"to"`
	Epoch    uint64    `json:"epoch"` // that it moves away from
	Phase    string    `json:"phase"`
	Began    time.Time `json:"began"`
	Deadline time.Time `json:"deadline"` // until which it can be given up
	Ended    time.Time `json:"ended,omitzero"`
	// Waiting is who has not answered the present commands, and what they said last; Lacks what the next home
	// still needs.
	Waiting   []Waiting `json:"waiting,omitempty"`
	Lacks     []Lack    `json:"lacks,omitempty"`
	Home      string    `json:"home,omitempty"`    // decided
	Decided   uint64    `json:"decided,omitempty"` // its epoch
	DecidedAt time.Time `json:"decided_at,omitzero"`
	Result    string    `json:"result,omitempty"` // moved, lost, aborted, open, failed; empty while it is under way
	Error     string    `json:"error,omitempty"`
}

// Waiting is an acceptor that has not answered.
type Waiting struct {
	DC   string `json:"dc"`
	Said string `json:"said,omitempty"`
}

// Lack is a chain that the next home has not applied up to its cut.
type Lack struct {
	Origin string `json:"origin"`
	Have   int64  `json:"have"`
	Need   int64  `json:"need"`
}

// attempt is a move under way. Its fields are set before it starts, but for status.
type attempt struct {
	k      *keeper
	kind   MoveKind
	target homes.Life
	abort  chan struct{} // closed to give up
	status MoveStatus    // guarded by k.mu
	done   chan struct{}
}

// Switch begins a switchover to another datacenter, at the home. It returns at once; [Registrar.Moves] has the
// progress. A deadline of 0 is the configured one.
func (r *Registrar) Switch(keyspace, to string, deadline time.Duration) (MoveStatus, error) {
	k := r.keepers[keyspace]
	if k == nil {
		return MoveStatus{}, fmt.Errorf("%w: %q", ErrKeyspace, keyspace)
	}
	life := r.cfg.Acceptor.Life()
	known := k.register().State.Decided
	switch {
	case known.Epoch == 0:
		return MoveStatus{}, fmt.Errorf("%w: keyspace %q: %s", ErrTarget, keyspace, k.standing().Why)
	case known.Home.DC == to:
		return MoveStatus{}, fmt.Errorf("%w: %s is home of %q already, in epoch %d", ErrTarget, to, keyspace, known.Epoch)
	case known.Home != life:
		return MoveStatus{}, fmt.Errorf("%w: a switchover starts at the home, and that is %s in epoch %d; ask there, or if it is lost, run a failover at %s",
			ErrTarget, known.Home.DC, known.Epoch, to)
	case !r.cfg.holdsData(to):
		return MoveStatus{}, fmt.Errorf("%w: %q is not a datacenter that holds data", ErrTarget, to)
	}
	target, ok := r.cfg.Carrier.LifeOf(to)
	if !ok {
		return MoveStatus{}, fmt.Errorf("%w: %s has not been heard from yet; see `geogate status`", ErrTarget, to)
	}
	return k.start(Switchover, target, deadline)
}

// FailOver begins a failover to this datacenter, as [Registrar.Switch] does a switchover.
func (r *Registrar) FailOver(keyspace string, deadline time.Duration) (MoveStatus, error) {
	k := r.keepers[keyspace]
	if k == nil {
		return MoveStatus{}, fmt.Errorf("%w: %q", ErrKeyspace, keyspace)
	}
	life := r.cfg.Acceptor.Life()
	if v := k.register().State.Decided; v.Epoch > 0 && v.Home == life && !k.register().State.Fenced() {
		return MoveStatus{}, fmt.Errorf("%w: %s is home of %q already, in epoch %d", ErrTarget, life.DC, keyspace, v.Epoch)
	}
	if !r.cfg.holdsData(life.DC) {
		return MoveStatus{}, fmt.Errorf("%w: %s is a witness and holds no data", ErrTarget, life.DC)
	}
	return k.start(Failover, life, deadline)
}

// Abort gives up the move of a keyspace that is under way here, if it is not proposed yet.
func (r *Registrar) Abort(keyspace string) error {
	k := r.keepers[keyspace]
	if k == nil {
		return fmt.Errorf("%w: %q", ErrKeyspace, keyspace)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.moving == nil {
		return fmt.Errorf("%w: of keyspace %q at %s", ErrNoMove, keyspace, r.cfg.Local)
	}
	select {
	case <-k.moving.abort:
	default:
		close(k.moving.abort)
	}
	return nil
}

// Moves lists the moves of a keyspace that this registrar has seen, the newest last.
func (r *Registrar) Moves(keyspace string) []MoveStatus {
	k := r.keepers[keyspace]
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	out := slices.Clone(k.ended)
	if k.moving != nil {
		out = append(out, k.moving.status)
	}
	return out
}

// start begins a move on a goroutine of its own, which ends with ctx of Run: a request that asked for it may end
// before.
func (k *keeper) start(kind MoveKind, target homes.Life, deadline time.Duration) (MoveStatus, error) {
	if deadline == 0 {
		deadline = k.r.cfg.MoveTimeout
	}
	known := k.register().State.Decided
	now := k.r.cfg.Clock()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.diverged != "":
		return MoveStatus{}, fmt.Errorf("%w: keyspace %q: %s", ErrDiverged, k.cfg.Prefix, k.diverged)
	case k.moving != nil:
		s := k.moving.status
		return s, fmt.Errorf("%w: %s of %q to %s since %s, now %s", ErrMoving, s.Kind, s.Keyspace, s.To, s.Began.Format(time.TimeOnly), s.Phase)
	case k.closed || k.ctx == nil:
		return MoveStatus{}, fmt.Errorf("%w: this node does not lead its datacenter any more, or not yet", ErrAborted)
	}
	k.ids++
	a := &attempt{k: k, kind: kind, target: target, abort: make(chan struct{}), done: make(chan struct{})}
	a.status = MoveStatus{
		ID: k.ids, Keyspace: k.cfg.Prefix, Kind: kind, From: known.Home.DC, To: target.DC, Epoch: known.Epoch,
		Phase: "starting", Began: now, Deadline: now.Add(deadline),
	}
	k.moving = a
	k.r.cfg.Metrics.moving.WithLabelValues(k.cfg.Prefix).Set(1)
	k.r.cfg.Logger.Info("move of a home begins", "keyspace", k.cfg.Prefix, "kind", string(kind), "from", known.String(), "to", target.String())
	run := k.ctx
	k.r.running.Go(func() { a.run(run) })
	return a.status, nil
}

// run tries until the move is decided, one way or another, and puts down how it ended.
func (a *attempt) run(ctx context.Context) {
	defer close(a.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v, err := a.attempts(ctx)
	k := a.k
	result := "moved"
	switch {
	case errors.Is(err, ErrLost):
		result = "lost"
	case errors.Is(err, ErrAborted):
		result = "aborted"
	case errors.Is(err, ErrOpen), errors.Is(err, errStopped), ctx.Err() != nil && err != nil:
		result = "open"
	case err != nil:
		result = "failed"
	}
	now := k.r.cfg.Clock()
	k.mu.Lock()
	s := &a.status
	s.Ended, s.Result, s.Waiting, s.Lacks = now, result, nil, nil
	s.Home, s.Decided = v.Home.DC, v.Epoch
	if s.DecidedAt.IsZero() && v.Epoch > 0 {
		s.DecidedAt = now
	}
	if err != nil {
		s.Error = err.Error()
	}
	k.ended = append(k.ended, *s)
	k.ended = k.ended[max(0, len(k.ended)-k.r.cfg.MaxMoves):]
	k.moving = nil
	took := now.Sub(s.Began)
	if !s.DecidedAt.IsZero() {
		took = s.DecidedAt.Sub(s.Began)
	}
	k.mu.Unlock()
	k.r.cfg.Metrics.moving.WithLabelValues(k.cfg.Prefix).Set(0)
	k.r.cfg.Metrics.moves.WithLabelValues(string(a.kind), result).Inc()
	log := k.r.cfg.Logger.With("keyspace", k.cfg.Prefix, "kind", string(a.kind), "result", result, "took", took.String())
	if err != nil {
		log.Warn("move of a home has ended", "error", err)
	} else {
		k.r.cfg.Metrics.seconds.WithLabelValues(string(a.kind)).Observe(took.Seconds())
		log.Info("move of a home has ended", "decided", v.String())
	}
	if v.Epoch > 0 && !errors.Is(err, errStopped) { // even if it is not what this move wanted: it may have brought it about
		k.announce(ctx, v)
	}
}

// announce tells every acceptor of a decision. The next move need not wait for that; whoever does not answer in time
// hears of it from acks.
func (k *keeper) announce(ctx context.Context, v homes.Value) {
	ctx, cancel := context.WithTimeout(ctx, k.r.cfg.AnnounceFor)
	defer cancel()
	var telling sync.WaitGroup
	for _, voter := range k.r.cfg.Voters {
		telling.Go(func() {
			retry := backoff{min: k.r.cfg.RetryMin, max: k.r.cfg.RetryMax, random: k.r.cfg.Random}
			for ctx.Err() == nil {
				reply, err := k.command(ctx, voter.DC, homes.Command{Kind: homes.Learn, Keyspace: k.cfg.Prefix, Known: v})
				if err == nil && (reply.Answer == homes.Learned || reply.Answer == homes.Behind) {
					return
				}
				pause(ctx, retry.next())
			}
		})
	}
	telling.Wait()
}

// attempts runs one proposer after the other: what loses to a higher ballot starts anew after a random while, to
// hear who won.
func (a *attempt) attempts(ctx context.Context) (homes.Value, error) {
	if a.kind == Switchover {
		if err := a.awaitTarget(ctx); err != nil {
			return homes.Value{}, err
		}
	}
	var rival homes.Ballot
	for {
		m, err := a.propose(rival)
		if err != nil {
			return homes.Value{}, err
		}
		d := newDrive(a, m)
		err = d.run(ctx)
		v, decided := m.Decided()
		switch {
		case err != nil:
			return homes.Value{}, err
		case decided:
			return v, a.judge(ctx, v)
		case m.Phase() == homes.Aborted:
			return homes.Value{}, fmt.Errorf("%w while %s: %s", ErrAborted, d.last, d.why)
		}
		rival = m.Rival()
		if a.kind == Switchover || a.late() {
			return homes.Value{}, fmt.Errorf("%w: %s has begun to move %q by ballot %s; `geogate dr status` tells who wins", ErrLost, rival.DC, a.k.cfg.Prefix, rival)
		}
		pause(ctx, a.k.r.cfg.Random(a.k.r.cfg.RivalWait))
		if ctx.Err() != nil {
			return homes.Value{}, fmt.Errorf("%w: this node does not lead its datacenter any more", ErrOpen)
		}
		if v := a.k.register().State.Decided; v.Epoch > a.status.Epoch {
			return v, a.judge(ctx, v)
		}
	}
}

// awaitTarget waits while the next home could not take writes for want of its own acceptor's grant: one that was given back its
// vote grants nothing for as long as a lease lasts. Writes go on here meanwhile.
func (a *attempt) awaitTarget(ctx context.Context) error {
	k, dc := a.k, a.target.DC
	for why := k.grantsLater(dc); why != ""; why = k.grantsLater(dc) {
		k.mu.Lock()
		a.status.Phase, a.status.Waiting = "waiting for the next home's own lease", []Waiting{{DC: dc, Said: why}}
		k.mu.Unlock()
		pause(ctx, k.r.cfg.LookInterval/4)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: this node does not lead its datacenter any more; nothing was begun", ErrAborted)
		case <-a.abort:
			return fmt.Errorf("%w before it began: an operator asked for it", ErrAborted)
		default:
		}
		if a.late() {
			return fmt.Errorf("%w before it began: %s could not take writes: %s", ErrAborted, dc, why)
		}
	}
	return nil
}

// judge says whether what was decided is what this move wanted.
func (a *attempt) judge(ctx context.Context, v homes.Value) error {
	if err := a.k.learn(ctx, v); err != nil {
		a.k.r.cfg.Logger.Warn("a decision is not known to the own acceptor yet", "keyspace", a.k.cfg.Prefix, "error", err)
	}
	if v.Home == a.target && v.Epoch == a.status.Epoch+1 {
		return nil
	}
	return fmt.Errorf("%w: home of %q is now %s in epoch %d, not %s", ErrLost, a.k.cfg.Prefix, v.Home.DC, v.Epoch, a.target.DC)
}

func (a *attempt) late() bool { return !a.k.r.cfg.Clock().Before(a.status.Deadline) }

// propose makes a proposer of the state that the own acceptor is in.
func (a *attempt) propose(rival homes.Ballot) (*homes.Move, error) {
	k := a.k
	s := k.register().State
	k.mu.Lock()
	if rival.Compare(k.fence.ballot) < 0 && k.fence.epoch == s.Decided.Epoch {
		rival = k.fence.ballot // of who refused the home's renewals
	}
	k.mu.Unlock()
	p := homes.Plan{Keyspace: k.cfg.Prefix, State: s, Target: a.target, Rival: rival, Settled: k.settled(s.Decided)}
	if a.kind == Switchover {
		return homes.NewSwitchover(k.r.cfg.voters(), p, k.r.cfg.Acceptor.Life())
	}
	return homes.NewFailover(k.r.cfg.voters(), p)
}

// settled is the epoch up to which every datacenter that holds data is known to have applied what counts.
func (k *keeper) settled(v homes.Value) uint64 {
	settled := uint64(0)
	for _, t := range v.Past {
		for _, voter := range k.r.cfg.Voters {
			if !voter.Witness && !k.has(voter.DC, t) {
				return settled
			}
		}
		settled = t.Epoch
	}
	return settled
}

// has says whether a datacenter is known to have applied what counts of a tenure.
func (k *keeper) has(dc string, t homes.Tenure) bool {
	at, known := k.applied(dc, t.Home)
	return known && at >= t.Cut
}

func (k *keeper) applied(dc string, life homes.Life) (int64, bool) {
	if dc == k.r.cfg.Local {
		return k.r.cfg.Acceptor.AppliedOf(life), true
	}
	return k.r.cfg.Carrier.AppliedAt(dc, life)
}
