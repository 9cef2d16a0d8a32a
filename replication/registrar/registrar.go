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

// Registrar looks after the homes of all single-writer keyspaces while this node leads its datacenter.
type Registrar struct {
	cfg     Config
	keepers map[string]*keeper // by prefix; never changed
	order   []string           // prefixes, sorted
	running sync.WaitGroup
}

// New starts nothing; see [Registrar.Run]. Errors wrap [ErrConfig].
func New(cfg Config) (*Registrar, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Registrar{cfg: cfg, keepers: map[string]*keeper{}}
	for _, k := range cfg.Keyspaces {
		r.keepers[k.Prefix] = newKeeper(r, k)
		r.order = append(r.order, k.Prefix)
	}
	slices.Sort(r.order)
	return r, nil
}

// Run works until ctx ends, and returns when every goroutine is gone.
func (r *Registrar) Run(ctx context.Context) {
	for _, prefix := range r.order {
		k := r.keepers[prefix]
		r.cfg.Metrics.moving.WithLabelValues(prefix).Set(0)
		r.cfg.Metrics.diverged.WithLabelValues(prefix).Set(0)
		r.cfg.Metrics.automatic.WithLabelValues(prefix)
		k.open(ctx)
		r.running.Go(func() { k.run(ctx) })
		for _, v := range r.cfg.Voters {
			r.running.Go(func() { k.renew(ctx, v.DC) })
		}
	}
	<-ctx.Done()
	for _, k := range r.keepers {
		k.close()
	}
	r.running.Wait()
	for _, prefix := range r.order {
		r.cfg.Metrics.forget(prefix)
	}
}

// keeper looks after one keyspace.
type keeper struct {
	r   *Registrar
	cfg Keyspace

	barring sync.Mutex // while it is looked whether the own acceptor must be barred
	back    readmission

	mu       sync.Mutex
	epoch    uint64            // of the tenancy; guarded by mu, as all below
	tenancy  *homes.Tenancy    // nil until this datacenter was home in epoch
	own      bool              // the own acceptor has granted in this epoch
	conceded bool              // the home has begun to give its lease back in this epoch: no reads any more
	covered  uint64            // the epoch whose past is known to be applied here
	answers  map[string]answer // of the acceptors to the last renewal
	diverged string            // why the keyspace stands still
	moving   *attempt          // under way
	ended    []MoveStatus      // newest last
	closed   bool              // no move starts any more
	ids      uint64            // of the last move
	fence    fence             // what is open at an acceptor
	changed  time.Time         // when the home last moved; zero when it never did, as far as is known
	seen     bool              // noted is set
	noted    homes.Value       // the decision as it was last logged
	here     bool              // as last logged
	why      string
	ctx      context.Context // of Run; nil before
	downFrom time.Time       // since when the home is held to be down
	next     time.Time       // no own move before
}

// answer is what an acceptor last said to a renewal.
type answer struct {
	text  string // why not; empty when it granted the lease
	later bool   // it will in a while, by itself
	at    time.Time
}

func newKeeper(r *Registrar, k Keyspace) *keeper {
	return &keeper{r: r, cfg: k, answers: map[string]answer{}}
}

// run looks at the keyspace again and again, and does what nobody else does.
func (k *keeper) run(ctx context.Context) {
	tick := time.NewTicker(k.r.cfg.LookInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		k.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (k *keeper) open(ctx context.Context) {
	k.mu.Lock()
	k.ctx = ctx
	k.mu.Unlock()
}

func (k *keeper) close() {
	k.mu.Lock()
	k.closed, k.tenancy = true, nil
	k.mu.Unlock()
}

// register is the own acceptor; of one that never got a command, the zero state.
func (k *keeper) register() homes.Register {
	reg, ok := k.r.cfg.Acceptor.Register(k.cfg.Prefix)
	if !ok {
		reg.Keyspace = k.cfg.Prefix
	}
	return reg
}

// command is one to any acceptor, the own one included. Whatever it says of a later decision is learnt.
func (k *keeper) command(ctx context.Context, dc string, c homes.Command) (homes.Reply, error) {
	var reply homes.Reply
	var err error
	if dc == k.r.cfg.Local {
		reply, err = k.r.propose(ctx, c)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.r.cfg.ExchangeTimeout)
		defer cancel()
		reply, err = k.r.cfg.Carrier.Exchange(ctx, dc, c)
		if err == nil {
			k.r.cfg.Metrics.answers.WithLabelValues(dc, c.Kind.String(), reply.Answer.String()).Inc()
		}
	}
	switch {
	case err != nil:
		k.r.cfg.Metrics.failed.WithLabelValues(dc, c.Kind.String()).Inc()
		return reply, fmt.Errorf("%s to %s: %w", c.Kind, dc, err)
	case reply.Keyspace != k.cfg.Prefix:
		return reply, fmt.Errorf("%s to %s: answer for keyspace %q", c.Kind, dc, reply.Keyspace)
	case reply.Answer == homes.Diverged:
		k.diverge(dc, c.Known, reply.Decided)
	case reply.Answer == homes.Behind:
		if err := k.learn(ctx, reply.Decided); err != nil {
			return reply, err
		}
	}
	return reply, nil
}

// learn makes a decision known to the own acceptor.
func (k *keeper) learn(ctx context.Context, v homes.Value) error {
	if v.Compare(k.register().State.Decided) <= 0 {
		return nil
	}
	reply, err := k.r.propose(ctx, homes.Command{Kind: homes.Learn, Keyspace: k.cfg.Prefix, Known: v})
	if err != nil {
		return fmt.Errorf("learn that the %s: %w", v, err)
	}
	if reply.Answer == homes.Diverged {
		k.diverge(k.r.cfg.Local, v, reply.Decided)
		return fmt.Errorf("%w: keyspace %q", ErrDiverged, k.cfg.Prefix)
	}
	return nil
}

// diverge stops the keyspace: an invariant is broken, and whatever is done next may make it worse.
func (k *keeper) diverge(dc string, a, b homes.Value) {
	text := fmt.Sprintf("%s knows: %s; and this datacenter: %s", dc, b, a)
	k.mu.Lock()
	known := k.diverged != ""
	k.diverged = text
	k.mu.Unlock()
	k.r.cfg.Metrics.diverged.WithLabelValues(k.cfg.Prefix).Set(1)
	if !known {
		k.r.cfg.Logger.Error("two homes were decided in one epoch; the keyspace stands still here. Stop all writers of it, compare `geogate dr status` of all datacenters, and force one home",
			"keyspace", k.cfg.Prefix, "detail", text)
	}
}

// Learn takes a decision that another datacenter's ack tells of: it asks for the value and has the own acceptor
// learn it. It returns nil once the own acceptor knows the epoch.
func (r *Registrar) Learn(ctx context.Context, dc, keyspace string, epoch uint64) error {
	k := r.keepers[keyspace]
	if k == nil {
		return fmt.Errorf("%w: %q", ErrKeyspace, keyspace)
	}
	known := k.register().State.Decided
	if known.Epoch >= epoch {
		return nil
	}
	// Whoever knows a later decision answers `behind`, with the value, which command learns. The one that told of it
	// may be out of reach in this direction: others may know it too.
	ask := []string{dc}
	for _, v := range r.cfg.Voters {
		if v.DC != dc && v.DC != r.cfg.Local {
			ask = append(ask, v.DC)
		}
	}
	var failed []error
	for _, from := range ask {
		if _, err := k.command(ctx, from, homes.Command{Kind: homes.Learn, Keyspace: keyspace, Known: known}); err != nil {
			failed = append(failed, err)
		}
		if k.register().State.Decided.Epoch >= epoch {
			return nil
		}
	}
	return fmt.Errorf("%s told of epoch %d of keyspace %q, and nobody of its value: %w", dc, epoch, keyspace, errors.Join(failed...))
}
