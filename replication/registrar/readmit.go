package registrar

import (
	"context"
	"strings"
	"sync"
	"time"

	"geogate/replication/homes"
)

// readmission is what a barred acceptor waits for. The goroutine of look owns it, but for why.
type readmission struct {
	r   *homes.Readmission // nil until the others were asked
	ask backoff
	due time.Time // to ask those who have not said enough
	why string    // what it waits for; guarded by keeper.mu
}

// bar makes the own acceptor vote for nothing before it is told the first decision that it hears of. A datacenter that is
// new bars itself, too, when it had no part in that decision: it can't know that it is not in the place of a lost one.
func (r *Registrar) bar(ctx context.Context, c homes.Command) error {
	k := r.keepers[c.Keyspace]
	k.barring.Lock()
	defer k.barring.Unlock()
	if !k.register().State.Amnesic(r.cfg.Acceptor.Life(), c) {
		return nil
	}
	r.cfg.Logger.Info("a keyspace has a home that this datacenter had no part in choosing: it is new, or lost its data; it votes once it has caught up",
		"keyspace", c.Keyspace, "known", c.Known.String())
	_, err := r.cfg.Acceptor.RegisterCommand(ctx, homes.Command{Kind: homes.Bar, Keyspace: c.Keyspace, Duration: r.cfg.Lease.Duration})
	return err
}

// readmit lets an acceptor that lost its past vote again, when what it forgot can't matter any more.
func (k *keeper) readmit(ctx context.Context, s homes.State, now time.Time) {
	b := &k.back
	if b.r == nil || !b.r.Known().Equal(s.Decided) {
		r, err := homes.NewReadmission(k.r.cfg.voters(), k.r.cfg.Acceptor.Life(), s.Decided)
		if err != nil {
			panic(err) // validate made a tenancy of the same
		}
		b.r, b.ask, b.due = r, backoff{min: k.r.cfg.RetryMin, max: k.r.cfg.RetryMax, random: k.r.cfg.Random}, now
	}
	if due := b.r.Due(); len(due) > 0 && !now.Before(b.due) {
		k.askOthers(ctx, due)
		b.due = k.r.cfg.Clock().Add(b.ask.next())
	}
	marks := homes.Marks(k.r.cfg.Acceptor.AppliedOf)
	if !k.r.cfg.holdsData(k.r.cfg.Local) {
		marks = nil
	}
	if upTo := b.r.UpTo(marks); upTo < s.Barred {
		reply, err := k.command(ctx, k.r.cfg.Local, homes.Command{Kind: homes.Admit, Keyspace: k.cfg.Prefix, Known: s.Decided, UpTo: upTo})
		k.r.cfg.Logger.Info("an acceptor that lost its past votes again", "keyspace", k.cfg.Prefix, "above_epoch", upTo, "answer", reply.Answer.String(), "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	b.why = strings.Join(b.r.Lacks(marks), "; ")
}

// askOthers asks about the decision that the readmission is about.
func (k *keeper) askOthers(ctx context.Context, dcs []string) {
	replies := make([]homes.Reply, len(dcs))
	var asking sync.WaitGroup
	for i, dc := range dcs {
		asking.Go(func() {
			reply, err := k.command(ctx, dc, homes.Command{Kind: homes.Learn, Keyspace: k.cfg.Prefix, Known: k.back.r.Known()})
			if err == nil {
				replies[i] = reply
			}
		})
	}
	asking.Wait()
	for i, dc := range dcs {
		k.back.r.Step(dc, replies[i])
	}
}
