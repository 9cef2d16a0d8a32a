package registrar

import (
	"context"
	"fmt"

	"geogate/replication/homes"
)

// Force makes this datacenter the home without a majority. It loses every write of the old home above its watermark
// here, those acknowledged under QUORUM included, and if the other side lives there are two homes until they meet.
// It returns when the own acceptor has taken it; others hear of it as they can be reached.
func (r *Registrar) Force(ctx context.Context, keyspace string) (homes.Value, error) {
	k := r.keepers[keyspace]
	if k == nil {
		return homes.Value{}, fmt.Errorf("%w: %q", ErrKeyspace, keyspace)
	}
	life := r.cfg.Acceptor.Life()
	if !r.cfg.holdsData(life.DC) {
		return homes.Value{}, fmt.Errorf("%w: %s is a witness and holds no data", ErrTarget, life.DC)
	}
	c, err := homes.Forced(k.register().State.Decided, life, r.cfg.Acceptor.AppliedOf)
	if err != nil {
		return homes.Value{}, fmt.Errorf("force the home of %q to %s: %w", keyspace, life.DC, err)
	}
	c.Keyspace = keyspace
	r.cfg.Logger.Error("an operator forces a home", "keyspace", keyspace, "value", c.Known.String())
	reply, err := k.command(ctx, r.cfg.Local, c)
	if err != nil {
		return homes.Value{}, fmt.Errorf("force the home of %q to %s: %w", keyspace, life.DC, err)
	}
	if reply.Answer != homes.Learned {
		return homes.Value{}, fmt.Errorf("force the home of %q to %s: the acceptor answered %s: %w", keyspace, life.DC, reply.Answer, ErrLost)
	}
	return c.Known, nil
}
