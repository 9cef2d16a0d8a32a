package dr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/gateway/admin"
)

// ErrChanged says that keys were written since, so that what was set aside is not written again over them.
var ErrChanged = errors.New("keys have changed since")

// ErrNoWrite says that no such write is kept.
var ErrNoWrite = errors.New("no such write was set aside here")

const (
	pageWrites   = 1000
	writeTimeout = 15 * time.Second
)

// List is the writes of a keyspace that were set aside in the endpoint's datacenter, at most so many.
func (c Client) List(ctx context.Context, keyspace string, limit int) (out []admin.AsideWrite, more bool, err error) {
	after := uint64(0)
	for {
		var page admin.QuarantineReport
		q := url.Values{"keyspace": {keyspace}, "after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(min(pageWrites, limit-len(out)))}}
		if err := c.get(ctx, "/v1/dr/quarantine", q, &page); err != nil {
			return nil, false, err
		}
		out = append(out, page.Writes...)
		if !page.More || len(out) >= limit || len(page.Writes) == 0 {
			return out, page.More, nil
		}
		after = page.Writes[len(page.Writes)-1].ID
	}
}

// pick are the writes with these numbers, or all without any, in their order.
func (c Client) pick(ctx context.Context, keyspace string, ids []uint64) ([]admin.AsideWrite, error) {
	if len(ids) == 0 {
		all, more, err := c.List(ctx, keyspace, maxPicked)
		if more {
			return nil, fmt.Errorf("more than %d writes are set aside; name some by their numbers", maxPicked)
		}
		return all, err
	}
	var out []admin.AsideWrite
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		var page admin.QuarantineReport
		q := url.Values{"keyspace": {keyspace}, "after": {strconv.FormatUint(id-1, 10)}, "limit": {"1"}}
		if err := c.get(ctx, "/v1/dr/quarantine", q, &page); err != nil {
			return nil, err
		}
		if len(page.Writes) == 0 || page.Writes[0].ID != id {
			return nil, fmt.Errorf("%w: number %d of keyspace %q in %s", ErrNoWrite, id, keyspace, page.DC)
		}
		out = append(out, page.Writes[0])
	}
	return out, nil
}

// maxPicked bounds what one command takes.
const maxPicked = 100_000

// Show is one of them.
func (c Client) Show(ctx context.Context, keyspace string, id uint64) (admin.AsideWrite, error) {
	w, err := c.pick(ctx, keyspace, []uint64{id})
	if err != nil {
		return admin.AsideWrite{}, err
	}
	return w[0], nil
}

// Discard forgets writes for good: those with these numbers, or all without any. It says how many.
func (c Client) Discard(ctx context.Context, keyspace string, ids []uint64) (int, error) {
	writes, err := c.pick(ctx, keyspace, ids)
	if err != nil {
		return 0, err
	}
	return c.discard(ctx, keyspace, writes)
}

func (c Client) discard(ctx context.Context, keyspace string, writes []admin.AsideWrite) (done int, err error) {
	for page := range slices.Chunk(writes, pageWrites) {
		q := admin.DiscardRequest{Keyspace: keyspace}
		for i := range page {
			q.IDs = append(q.IDs, page[i].ID)
		}
		var answer struct {
			Discarded int `json:"discarded"`
		}
		if err := c.post(ctx, "/v1/dr/quarantine/discard", q, &answer); err != nil {
			return done, err
		}
		done += answer.Discarded
	}
	return done, nil
}

// Replayed is what became of a write that was to be written again.
type Replayed struct {
	ID     uint64 `json:"id"`
	Key    []byte `json:"key"`
	Result string `json:"result"` // written, overwritten, same, changed
	Kept   []byte `json:"kept"`   // null when it deleted the key
	Now    []byte `json:"now"`    // before the replay, of a key that had changed; null when it is not there
	Lease  bool   `json:"lease_dropped,omitempty"`
}

// Replay writes the kept values again, as new writes through etcd's API, in their order, if the key is as it was before
// the write that was set aside; with overwrite in any case. What is written, or is there already, is no longer kept.
// It stops at nothing that has changed, and then fails with [ErrChanged] at the end.
func (c Client) Replay(ctx context.Context, kv clientv3.KV, keyspace string, ids []uint64, overwrite bool) ([]Replayed, error) {
	writes, err := c.pick(ctx, keyspace, ids)
	if err != nil {
		return nil, err
	}
	var out []Replayed
	changed := 0
	for i := range writes {
		r, err := replay(ctx, kv, &writes[i], overwrite)
		if err != nil {
			return out, fmt.Errorf("write %d of key %q: %w", writes[i].ID, writes[i].Key, err)
		}
		out = append(out, r)
		if r.Result == "changed" {
			changed++
			continue
		}
		if _, err := c.discard(ctx, keyspace, writes[i:i+1]); err != nil {
			return out, fmt.Errorf("write %d is written again, and still kept: %w", r.ID, err)
		}
	}
	if changed > 0 {
		return out, fmt.Errorf("%w: %d of %d; look at both values, and write the kept ones with --overwrite or drop them with `quarantine discard`", ErrChanged, changed, len(writes))
	}
	return out, nil
}

func replay(ctx context.Context, kv clientv3.KV, w *admin.AsideWrite, overwrite bool) (Replayed, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	key := string(w.Key)
	r := Replayed{ID: w.ID, Key: w.Key, Kept: w.New, Lease: w.Lease != 0}
	before := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	if w.Old != nil {
		before = clientv3.Compare(clientv3.Value(key), "=", string(w.Old))
	}
	do := clientv3.OpPut(key, string(w.New))
	if w.Deleted {
		do = clientv3.OpDelete(key)
	}
	txn, err := kv.Txn(ctx).If(before).Then(do).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return r, err
	}
	if txn.Succeeded {
		r.Result = "written"
		return r, nil
	}
	if now := txn.Responses[0].GetResponseRange().GetKvs(); len(now) > 0 {
		r.Now = append([]byte{}, now[0].Value...)
	}
	switch {
	case w.Deleted && r.Now == nil, !w.Deleted && r.Now != nil && bytes.Equal(r.Now, w.New):
		r.Result = "same"
	case !overwrite:
		r.Result = "changed"
	default:
		if _, err := kv.Do(ctx, do); err != nil {
			return r, err
		}
		r.Result = "overwritten"
	}
	return r, nil
}

// AsideRows is the table of `geogate dr quarantine list`.
func AsideRows(writes []admin.AsideWrite) [][]string {
	out := [][]string{{"ID", "KEY", "BEFORE", "WRITTEN", "ORIGIN", "EPOCH", "REVISION", "SET ASIDE"}}
	for i := range writes {
		w := &writes[i]
		written := brief(w.New)
		if w.Deleted {
			written = "(deleted)"
		}
		out = append(out, []string{
			strconv.FormatUint(w.ID, 10), brief(w.Key), brief(w.Old), written, w.Origin, strconv.FormatUint(w.Epoch, 10),
			strconv.FormatInt(w.Revision, 10), w.SetAside.UTC().Format(time.RFC3339),
		})
	}
	return out
}

// ReplayedRows is the table of `geogate dr quarantine replay`.
func ReplayedRows(list []Replayed) [][]string {
	out := [][]string{{"ID", "KEY", "RESULT", "KEPT", "NOW"}}
	for _, r := range list {
		kept := brief(r.Kept)
		if r.Kept == nil {
			kept = "(deleted)"
		}
		out = append(out, []string{strconv.FormatUint(r.ID, 10), brief(r.Key), r.Result, kept, brief(r.Now)})
	}
	return out
}

// briefBytes is how much of a value a table shows.
const briefBytes = 48

func brief(b []byte) string {
	switch {
	case b == nil:
		return "(none)"
	case !utf8.Valid(b):
		return fmt.Sprintf("(%d bytes, not text)", len(b))
	case len(b) > briefBytes:
		return strconv.Quote(string(b[:briefBytes])) + fmt.Sprintf("... (%d bytes)", len(b))
	}
	return strconv.Quote(string(b))
}
