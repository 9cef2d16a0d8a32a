package registrar

import (
	"context"
	"fmt"
	"time"

	"geogate/replication/homes"
)

// Acceptor is the acceptors of this datacenter, one per keyspace, and what it has applied. All methods are safe for
// concurrent use.
type Acceptor interface {
	// RegisterCommand proposes a command to the Raft group and returns the reply when it is applied here. With an
	// error the command may have been applied or not.
	RegisterCommand(ctx context.Context, c homes.Command) (homes.Reply, error)
	// Register is the acceptor of a keyspace as this replica has applied it; false when there never was a command.
	Register(keyspace string) (homes.Register, bool)
	// Registers is all of them, sorted by keyspace. Nobody changes it.
	Registers() []homes.Register
	// Life is this datacenter with its incarnation, which is 0 as long as none has been chosen.
	Life() homes.Life
	// AppliedOf is up to which origin revision this replica has applied a life's writes with nothing missing; of
	// its own life, its head.
	AppliedOf(life homes.Life) int64
	// Overrunning names the keyspaces of which writes that don't count are still being taken back here: neither reads
	// nor writes may be served of them.
	Overrunning() []string
}

// Carrier reaches the other datacenters. All methods are safe for concurrent use.
type Carrier interface {
	// Exchange sends a command to the leader of another datacenter and returns its acceptor's reply. With an error
	// the command may have been applied or not.
	Exchange(ctx context.Context, dc string, c homes.Command) (homes.Reply, error)
	// AppliedAt is what another datacenter last said that it has applied of a life; false when that is not known.
	AppliedAt(dc string, life homes.Life) (int64, bool)
	// LifeOf is the present life of another datacenter; false when it is not known.
	LifeOf(dc string) (homes.Life, bool)
	// Bring asks for what counts of these tenures and is not here yet: from its origin, or from whoever has it. It
	// returns at once and is repeated until all is here.
	Bring(tenures []homes.Tenure)
	// Down says whether a majority of the datacenters, this one included, holds another one to be down, and who of
	// them does.
	Down(dc string) (bool, string)
}

// Serve takes a command of another datacenter and returns this one's reply. Errors wrap [ErrForbidden],
// [ErrKeyspace], or are the acceptor's.
func (r *Registrar) Serve(ctx context.Context, from string, c homes.Command) (homes.Reply, error) {
	forbid := func(format string, a ...any) (homes.Reply, error) {
		r.cfg.Metrics.forbidden.WithLabelValues(from).Inc()
		return homes.Reply{}, fmt.Errorf("%w: %s of keyspace %q from %s: %s", ErrForbidden, c.Kind, c.Keyspace, from, fmt.Sprintf(format, a...))
	}
	if r.keepers[c.Keyspace] == nil {
		return homes.Reply{}, fmt.Errorf("%w: %q at %s; is its configuration that of %s?", ErrKeyspace, c.Keyspace, r.cfg.Local, from)
	}
	switch {
	case c.Kind.Local() || c.Kind == homes.Force:
		return forbid("only the acceptor's own datacenter may send it")
	case (c.Kind == homes.Prepare || c.Kind == homes.Accept) && c.Ballot.DC != from:
		return forbid("its ballot %s is of another datacenter", c.Ballot)
	case c.Kind == homes.Renew && c.Known.Home.DC != from:
		return forbid("the lease would be of %s", c.Known.Home)
	case c.Drained && c.Known.Home.DC != from:
		return forbid("it gives back the lease of %s", c.Known.Home)
	}
	c.First = false // of a datacenter's own acceptor alone
	reply, err := r.propose(ctx, c)
	reply.AtHome = reply.Answer == homes.Learned && c.Known.Epoch > 0 && c.Known.Home == r.cfg.Acceptor.Life()
	return reply, err
}

// propose hands a command to the own acceptor. Whether the lease in the way of a renewal has run out, and when a
// decision is learnt, this node's clock says and not the sender's.
func (r *Registrar) propose(ctx context.Context, c homes.Command) (homes.Reply, error) {
	reg, known := r.cfg.Acceptor.Register(c.Keyspace)
	c.At = 0
	if c.Known.Compare(reg.State.Decided) > 0 { // it is not behind the acceptor: what that has learnt meanwhile is later
		c.At = r.cfg.Wall().UnixNano()
	}
	if c.Kind == homes.Renew {
		c.Lapsed = 0
		if known {
			c.Lapsed = lapsed(reg, r.cfg.Clock())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ExchangeTimeout)
	defer cancel()
	if reg.State.Amnesic(r.cfg.Acceptor.Life(), c) {
		if err := r.bar(ctx, c); err != nil {
			return homes.Reply{}, err
		}
	}
	reply, err := r.cfg.Acceptor.RegisterCommand(ctx, c)
	if err == nil {
		r.cfg.Metrics.answers.WithLabelValues(r.cfg.Local, c.Kind.String(), reply.Answer.String()).Inc()
	}
	return reply, err
}

// lapsed is the number of the lease if it has run out; 0 otherwise. Should the clock stand still in suspend, it runs
// out later, which is safe.
func lapsed(reg homes.Register, now time.Time) uint64 {
	l := reg.State.Lease
	if l.Number == 0 || reg.Granted.IsZero() || now.Sub(reg.Granted) <= homes.AcceptorFree(0, l.Duration) {
		return 0
	}
	return l.Number
}
