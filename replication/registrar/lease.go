package registrar

import (
	"context"
	"fmt"
	"time"

	"geogate/replication/homes"
)

// renew keeps asking one acceptor for the lease while this datacenter is home.
func (k *keeper) renew(ctx context.Context, dc string) {
	cfg := &k.r.cfg
	retry := backoff{min: cfg.RetryMin, max: cfg.RetryMax, random: cfg.Random}
	for ctx.Err() == nil {
		v, tenancy := k.tenant()
		if tenancy == nil {
			k.forgetAnswer(dc)
			retry.reset()
			pause(ctx, cfg.LookInterval)
			continue
		}
		sent := cfg.Uptime()
		reply, err := k.command(ctx, dc, homes.Command{Kind: homes.Renew, Keyspace: k.cfg.Prefix, Known: v, Duration: cfg.Lease.Duration})
		if ctx.Err() != nil {
			return
		}
		if k.takeGrant(dc, v, tenancy, sent, reply, err) {
			retry.reset()
			pause(ctx, cfg.RenewInterval)
			continue
		}
		pause(ctx, retry.next())
	}
}

// tenant is what to renew: nil while this datacenter is not home, or must not ask. The own acceptor must not be
// fenced: a home that gave its lease back, and crashed, would otherwise be granted it again by those who have not
// heard of it yet.
func (k *keeper) tenant() (homes.Value, *homes.Tenancy) {
	reg := k.register()
	v := reg.State.Decided
	if v.Epoch == 0 || v.Home != k.r.cfg.Acceptor.Life() || reg.State.Fenced() || reg.State.Barred > v.Epoch {
		return v, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conceded && k.epoch == v.Epoch || k.diverged != "" {
		return v, nil
	}
	k.beginLocked(v.Epoch)
	if k.tenancy == nil {
		t, err := homes.NewTenancy(k.r.cfg.voters(), k.r.cfg.Lease)
		if err != nil {
			panic(err) // validate made one
		}
		k.tenancy = t
	}
	return v, k.tenancy
}

// beginLocked drops what belongs to an earlier epoch.
func (k *keeper) beginLocked(epoch uint64) {
	if k.epoch == epoch {
		return
	}
	k.epoch, k.tenancy, k.own, k.conceded = epoch, nil, false, false
	clear(k.answers)
}

func (k *keeper) takeGrant(dc string, v homes.Value, t *homes.Tenancy, sent time.Duration, reply homes.Reply, err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.r.cfg.Clock()
	if k.tenancy != t {
		return false
	}
	if err != nil {
		k.answers[dc] = answer{text: err.Error(), at: now}
		return false
	}
	granted := reply.Answer == homes.Granted && reply.Epoch == v.Epoch && reply.Lease.Holder == v.Home && reply.Lease.Epoch == v.Epoch
	text := ""
	later := reply.Answer == homes.Occupied || reply.Answer == homes.Barred
	switch {
	case granted:
		t.Granted(dc, sent, k.r.cfg.Uptime())
		k.own = k.own || dc == k.r.cfg.Local
	case reply.Answer == homes.Refused:
		text = fmt.Sprintf("fenced there by a move of ballot %s", reply.Promised)
		k.fence.refused(dc, v.Epoch, reply.Promised, now)
	case reply.Answer == homes.Occupied:
		text = fmt.Sprintf("the lease of %s in epoch %d there has not run out", reply.Lease.Holder, reply.Lease.Epoch)
	case reply.Answer == homes.Barred:
		text = "it is new there, or lost its data, and does not vote yet"
	default:
		text = reply.Answer.String()
	}
	if granted {
		k.fence.granted(dc)
	}
	if was := k.answers[dc].text; was != text && (text != "" || was != "") {
		k.r.cfg.Logger.Info("lease of a home", "keyspace", k.cfg.Prefix, "epoch", v.Epoch, "acceptor", dc, "from", was, "to", text)
	}
	k.answers[dc] = answer{text: text, later: later, at: now}
	return granted
}

// grantsLater says why an acceptor will grant the home's lease, but not yet; empty when it does, or is not known to be able to.
func (k *keeper) grantsLater(dc string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.answers[dc]; a.later {
		return a.text
	}
	return ""
}

func (k *keeper) forgetAnswer(dc string) {
	k.mu.Lock()
	delete(k.answers, dc)
	k.mu.Unlock()
}

// concede stops reads of this epoch for good: the lease is about to be given back.
func (k *keeper) concede(epoch uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.beginLocked(epoch)
	k.conceded, k.tenancy = true, nil
}

// backoff is a pause that doubles from min to max; half of it is random.
type backoff struct {
	min, max, last time.Duration
	random         func(time.Duration) time.Duration
}

func (b *backoff) reset() { b.last = 0 }

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, b.min), b.max)
	return b.last/2 + b.random(b.last/2)
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
