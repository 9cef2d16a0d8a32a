package dc

import (
	"context"
	"errors"
	"fmt"

	"geogate/replication/homes"
)

// MaxKeyspace is the greatest length of the prefix of a single-writer keyspace, in bytes.
const MaxKeyspace = 4096

// ErrNotHome answers a write to a single-writer keyspace where this DC may not write it; see [NotHomeError].
var ErrNotHome = errors.New("this datacenter is not the home of the keyspace")

// NotHomeError is [ErrNotHome] with what the replica knew of the keyspace when the write was applied; the write
// changed nothing.
type NotHomeError struct {
	Keyspace string
	State    homes.State
	Why      string
}

func (e *NotHomeError) Error() string {
	return fmt.Sprintf("%v: %q: %s; %s", ErrNotHome, e.Keyspace, e.Why, e.State.Decided)
}

// Is makes errors.Is(err, ErrNotHome) hold.
func (e *NotHomeError) Is(target error) bool { return target == ErrNotHome }

type keyspaceKey struct{}

// WithKeyspace says that writes with the returned context are of a single-writer keyspace, given by its prefix. They
// are applied only while this DC is its home and may write, in the log's order; else the answer is a
// [*NotHomeError]. One write is of one keyspace: the caller has made sure that all its keys are.
func WithKeyspace(ctx context.Context, prefix string) context.Context {
	return context.WithValue(ctx, keyspaceKey{}, prefix)
}

// KeyspaceOf is what [WithKeyspace] set; false for a write of a multi-writer keyspace.
func KeyspaceOf(ctx context.Context) (prefix string, ok bool) {
	prefix, ok = ctx.Value(keyspaceKey{}).(string)
	return prefix, ok
}

// keyspaceOf is nil when the write is of no single-writer keyspace.
func keyspaceOf(ctx context.Context) []byte {
	prefix, ok := KeyspaceOf(ctx)
	if !ok {
		return nil
	}
	return append(make([]byte, 0, len(prefix)+1), prefix...)
}

// RegisterCommand hands a command to this DC's acceptor of a keyspace, and returns the reply once the command is
// applied here. Only the leader can; the errors are those of a write.
func (d *DC) RegisterCommand(ctx context.Context, c homes.Command) (homes.Reply, error) {
	if len(c.Keyspace) > MaxKeyspace {
		return homes.Reply{}, fmt.Errorf("%w: prefix of a keyspace of %d bytes, the limit is %d", ErrTooLarge, len(c.Keyspace), MaxKeyspace)
	}
	r, err := d.proposeHome(ctx, item{kind: kindHome, payload: c.Encode()})
	if err != nil {
		return homes.Reply{}, err
	}
	return *r.reply, nil
}

func (d *DC) proposeHome(ctx context.Context, it item) (result, error) {
	p, err := d.queue.add(it)
	if err != nil {
		return result{}, err
	}
	r := d.queue.wait(ctx, p)
	return r, r.err
}

// Registers is what this replica has applied of all registers, by keyspace. It must not be changed.
func (d *DC) Registers() []homes.Register { return d.published.Load().registers }

// Register is one of [DC.Registers]; false when nothing is known of that keyspace.
func (d *DC) Register(keyspace string) (homes.Register, bool) {
	for _, r := range d.Registers() {
		if r.Keyspace == keyspace {
			return r, true
		}
	}
	return homes.Register{}, false
}

// Life is this DC and the incarnation of its data; of incarnation 0 until the first leader has chosen it.
func (d *DC) Life() homes.Life { return homes.Life{DC: d.cfg.Name, Incarnation: d.Incarnation()} }

// AppliedOf is how far this replica has applied the chain of a life, its own included, with nothing missing; it
// is what [homes.Marks] is for the replica. Read it before Registers: a watermark that leaves this DC must not be
// of a later moment than what limits it.
func (d *DC) AppliedOf(l homes.Life) int64 {
	return d.published.Load().applied(l)
}

// LatestOf is a revision of this DC at or behind its last write in a single-writer keyspace: whoever has seen the data
// before has seen nothing later. Of a keyspace that was not written since this process began it is the head of that time.
func (d *DC) LatestOf(keyspace string) int64 {
	for _, r := range d.published.Load().keyspaces {
		if r.keyspace != keyspace {
			continue
		}
		if at := r.latest.Load(); at != 0 {
			return at
		}
		r.latest.CompareAndSwap(0, d.AppliedOf(d.Life())) // what is written meanwhile is behind it
		return r.latest.Load()
	}
	return d.AppliedOf(d.Life())
}

// marks is what commands and judgements are evaluated against; nil at a witness.
func (d *DC) marks() homes.Marks {
	if d.cfg.Witness {
		return nil
	}
	return d.state.applied
}

func (s *state) applied(l homes.Life) int64 { return s.position(life{l.DC, l.Incarnation}).Revision }

func (d *DC) life() homes.Life { return homes.Life{DC: d.cfg.Name, Incarnation: d.state.incarnation} }
