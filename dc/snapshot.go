package dc

import (
	"context"
	"encoding/json"
	"fmt"

	"geogate/replication/event"
)

// Marks is where this DC stands in each life of each origin, its own included, its own revision, and the
// highest stamp that it has applied; all of one moment.
func (d *DC) Marks() (marks []event.Mark, revision int64, high event.Stamp) {
	p := d.published.Load()
	return p.marks(), p.revision, p.high
}

// Export encodes the newest state of the keys behind a place, which is nil or the last of the call before,
// tombstones included, about maxBytes of it; the system table comes behind the keys, all of it, and behind that
// the remembered requests. Live keys that this DC had in that state when it gave since (see [DC.SnapshotMarks]; 0 for
// all) are left out, and so are the requests of before. A DC that has merged all chunks from the first key on to the last holds at least what the marks said before the first: states only
// replace older ones, so it does not matter that chunks are of different moments.
func (d *DC) Export(ctx context.Context, after []byte, since int64, maxBytes int) (chunk, last []byte, done bool, err error) {
	if err := d.mayGive(); err != nil {
		return nil, nil, false, err
	}
	before := d.published.Load() // nothing that is read is older
	if len(before.overruns) > 0 {
		return nil, nil, false, fmt.Errorf("%w: writes to %q that don't count are being taken back", event.ErrHeld, before.overruns)
	}
	held := before.marks()
	var e part
	if len(before.registers) > 0 {
		e, held, err = d.exportSettled(after, since, maxBytes)
	} else {
		e, err = d.exportPart(after, since, maxBytes)
	}
	if err != nil {
		return nil, nil, false, err
	}
	p, err := d.publishedAt(ctx, e.index)
	if err != nil {
		return nil, nil, false, err
	}
	chunk = appendChunk(e.versions, p.marks(), p.reach)
	if len(e.system) > 0 {
		chunk = appendSystem(chunk, e.system)
	}
	if w := d.newSweep(after, since, &e, before, held); w != nil {
		chunk = appendSweep(chunk, w)
	}
	if len(e.requests) > 0 {
		chunk = appendRequests(chunk, e.requests)
	}
	return chunk, e.last, e.done, nil
}

// publishedAt is the small state of an index of the log or a later one.
func (d *DC) publishedAt(ctx context.Context, index uint64) (*published, error) {
	for {
		changed := d.Changed()
		if p := d.published.Load(); p.index >= index {
			return p, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Merge hands a chunk of another DC's state to the group. The channel gets one value: nil once the chunk is
// merged, else one of the errors of a write.
func (d *DC) Merge(ctx context.Context, chunk []byte) (<-chan error, error) {
	if _, err := decodeChunk(chunk); err != nil {
		return nil, err // once proposed it would stop every replica
	}
	p, err := d.queue.addPatiently(ctx, item{kind: kindMerge, payload: chunk})
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- d.queue.wait(ctx, p).err }()
	return done, nil
}

// Adopt ends the merge of a DC's snapshot: marks is where that DC stood, and high its highest stamp, before
// it exported the first chunk. It returns once the marks of this DC have moved.
func (d *DC) Adopt(ctx context.Context, from string, marks []event.Mark, high event.Stamp) error {
	a := adoption{From: from, High: uint64(high), Peers: d.cfg.Peers}
	for _, m := range marks {
		r := recordOf(m)
		if _, err := r.mark(); err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		a.Marks = append(a.Marks, r)
	}
	payload, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode adoption: %w", err)
	}
	p, err := d.queue.addPatiently(ctx, item{kind: kindAdopt, payload: payload})
	if err != nil {
		return err
	}
	if err := d.queue.wait(ctx, p).err; err != nil {
		return err
	}
	if why := d.Awaits(from); why != "" {
		return fmt.Errorf("%s: not all of it was compared, so it is merged again; if this stays, %s is of a version that does not say what it has deleted: upgrade it", why, from)
	}
	return nil
}
