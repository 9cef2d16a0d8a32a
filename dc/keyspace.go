package dc

import (
	"context"
	"errors"
	"fmt"

	"geogate/replication/homes"
)

// ErrNotHome means that this datacenter is not the home of the write's keyspace, and nothing was written. The
// error is a [*NotHomeError].
var ErrNotHome = errors.New("this datacenter is not the home of the keyspace")

// NotHomeError is [ErrNotHome] with the register as it was when the write was to be applied.
type NotHomeError struct {
	Keyspace string
	State    homes.State
}

func (e *NotHomeError) Error() string {
	return fmt.Sprintf("%v: keyspace %q has %s", ErrNotHome, e.Keyspace, e.State.Decided)
}

// Is makes errors.Is(err, ErrNotHome) hold.
func (e *NotHomeError) Is(target error) bool { return target == ErrNotHome }

type keyspaceKey struct{}

// WithKeyspace makes writes with the returned context writes of a single-writer keyspace, named by its prefix: they
// are applied only where and while this datacenter is its home.
func WithKeyspace(ctx context.Context, prefix string) context.Context {
	return context.WithValue(ctx, keyspaceKey{}, prefix)
}

// KeyspaceOf is what [WithKeyspace] set; false for a write of a multi-writer keyspace.
func KeyspaceOf(ctx context.Context) (prefix string, ok bool) {
	prefix, ok = ctx.Value(keyspaceKey{}).(string)
	return prefix, ok
}
