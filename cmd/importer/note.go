package importer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// noteFolder is where notes lie at the destination.
const noteFolder = "geogate.import/"

// note says at the destination that an import is under way, so that what it has copied so far is not taken
// for somebody else's keys.
type note struct {
	Source  string    `json:"source"` // cluster id, hexadecimal
	Prefix  string    `json:"prefix"`
	Started time.Time `json:"started"`
}

func (r *run) noteKey() string { return noteFolder + r.source + "/" + r.Prefix }

// begin leaves the note, or finds the one of an import that was interrupted.
func (r *run) begin(ctx context.Context) error {
	from, err := r.From.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("read from the source: %w", err)
	}
	start, end := span(r.ToPrefix)
	to, err := r.To.Get(ctx, start, clientv3.WithRange(end), clientv3.WithLimit(2), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("read from the destination: %w", err)
	}
	if from.Header.ClusterId == to.Header.ClusterId {
		return fmt.Errorf("%w: both are cluster %x", ErrSelf, from.Header.ClusterId)
	}
	r.source = fmt.Sprintf("%x", from.Header.ClusterId)
	existing, err := r.To.Get(ctx, r.noteKey())
	if err != nil {
		return fmt.Errorf("read from the destination: %w", err)
	}
	if len(existing.Kvs) > 0 {
		var n note
		if err := json.Unmarshal(existing.Kvs[0].Value, &n); err != nil {
			return fmt.Errorf("key %q at the destination is not an import's note: %w", r.noteKey(), err)
		}
		r.Logger.Info("an import is under way and is resumed", "source", r.source, "prefix", r.Prefix, "started", n.Started)
		return nil
	}
	if !r.Merge && to.Count > 0 {
		return fmt.Errorf("%w: it has %d keys under %q, such as %q: delete them, choose another --to-prefix, or keep them with --merge",
			ErrNotEmpty, to.Count, r.ToPrefix, to.Kvs[0].Key)
	}
	raw, err := json.Marshal(note{Source: r.source, Prefix: r.Prefix, Started: time.Now().UTC()})
	if err != nil {
		return err
	}
	if _, err := r.To.Put(r.tagged(ctx), r.noteKey(), string(raw)); err != nil {
		return fmt.Errorf("write to the destination: %w", err)
	}
	return nil
}

// end takes the note away: what comes later is the users' own.
func (r *run) end(ctx context.Context) error {
	if _, err := r.To.Delete(r.tagged(ctx), r.noteKey()); err != nil {
		return fmt.Errorf("write to the destination: %w", err)
	}
	return nil
}

// span is the range of all keys with a prefix.
func span(prefix string) (start, end string) {
	if prefix == "" {
		return "\x00", "\x00"
	}
	return prefix, clientv3.GetPrefixRangeEnd(prefix)
}
