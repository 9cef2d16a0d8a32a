package dr

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"geogate/gateway/admin"
)

// ErrNoWrite says that no such write is kept.
var ErrNoWrite = errors.New("no such write was set aside here")

const pageWrites = 1000

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

// AsideRows is the table of `geogate dr quarantine list`.
func AsideRows(writes []admin.AsideWrite) [][]string {
	out := [][]string{{"ID", "KEY", "BEFORE", "WRITTEN", "LEASE", "ORIGIN", "EPOCH", "REVISION", "SET ASIDE"}}
	for i := range writes {
		w := &writes[i]
		written := brief(w.New)
		if w.Deleted {
			written = "(deleted)"
		}
		out = append(out, []string{
			strconv.FormatUint(w.ID, 10), brief(w.Key), brief(w.Old), written, lease(w.Lease), w.Origin, strconv.FormatUint(w.Epoch, 10),
			strconv.FormatInt(w.Revision, 10), w.SetAside.UTC().Format(time.RFC3339),
		})
	}
	return out
}

// lease is as etcdctl writes one.
func lease(id int64) string {
	if id == 0 {
		return "-"
	}
	return strconv.FormatInt(id, 16)
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
