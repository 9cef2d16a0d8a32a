package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// pass compares both sides, the source at one revision (0: now), and hands every difference to fix, in key
// order. It returns that revision. A nil fix only counts.
func (r *run) pass(ctx context.Context, phase string, revision int64, fix func(change) error) (at, differences int64, err error) {
	r.result.Passes++
	from, to := newPages(r.From, r.Prefix, revision, r.PageKeys), newPages(r.To, r.ToPrefix, 0, r.PageKeys)
	seen := int64(0)
	for {
		a, err := r.peek(ctx, "read from the source", from)
		if err != nil {
			return 0, 0, err
		}
		b, err := r.peek(ctx, "read from the destination", to)
		if err != nil {
			return 0, 0, err
		}
		if a == nil && b == nil {
			break
		}
		c, different := r.compare(a, b)
		if a != nil && (b == nil || r.renamed(a.Key) <= string(b.Key)) {
			from.skip()
			seen++
		}
		if b != nil && (a == nil || string(b.Key) <= r.renamed(a.Key)) {
			to.skip()
		}
		if different {
			differences++
			if fix != nil {
				if err := fix(c); err != nil {
					return 0, 0, err
				}
			}
		}
		if seen%int64(r.PageKeys) == 0 {
			r.tell(phase, seen, from.total, from.revision)
		}
	}
	r.result.Keys = seen
	r.tell(phase, seen, from.total, from.revision)
	return from.revision, differences, nil
}

func (r *run) peek(ctx context.Context, what string, p *pages) (kv *mvccpb.KeyValue, err error) {
	err = r.patiently(ctx, what, func() error {
		kv, err = p.peek(ctx)
		return err
	})
	if errors.Is(err, rpctypes.ErrCompacted) {
		return nil, fmt.Errorf("%w: revision %d was compacted before all was read", errAgain, p.revision)
	}
	return kv, err
}

// compare says what has to be done about the lesser of two keys; nil is greater than any.
func (r *run) compare(a, b *mvccpb.KeyValue) (c change, different bool) {
	switch {
	case a == nil || b != nil && string(b.Key) < r.renamed(a.Key):
		// A key that only the destination has. The note is this import's own.
		return change{key: string(b.Key), deleted: true}, !r.Merge && !strings.HasPrefix(string(b.Key), noteFolder)
	case b == nil || r.renamed(a.Key) < string(b.Key):
		return change{key: r.renamed(a.Key), value: a.Value, lease: a.Lease}, true
	}
	return change{key: r.renamed(a.Key), value: a.Value, lease: a.Lease}, !bytes.Equal(a.Value, b.Value) || a.Lease != b.Lease
}

// renamed is a key of the source as the destination has it.
func (r *run) renamed(key []byte) string { return r.ToPrefix + string(key[len(r.Prefix):]) }
