package dc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A multi-writer keyspace may lie within the prefix of a single-writer one. What its keys are must be the same on every
// replica, whatever the configuration of each says: their leases don't go with a home, and nothing of them is taken back. So
// the leader has its prefixes put down in the log. A replica of a build that doesn't know such an item stops there.

// multiNote is how the note of an item of kind 15 begins that holds the prefixes; JSON begins otherwise.
const multiNote = 'M'

// maxMulti bounds the prefixes, which replicas must agree on.
const maxMulti = maxRegisters

// isMulti says whether the note of an item holds prefixes.
func isMulti(note []byte) bool { return len(note) > 0 && note[0] == multiNote }

func encodeMulti(prefixes []string) []byte {
	return append([]byte{multiNote}, mustMarshal(prefixes)...)
}

func decodeMulti(raw []byte) (prefixes []string, err error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if raw[0] != multiNote {
		return nil, errors.New("prefixes of multi-writer keyspaces: not such a note")
	}
	if err := json.Unmarshal(raw[1:], &prefixes); err != nil {
		return nil, fmt.Errorf("prefixes of multi-writer keyspaces: %w", err)
	}
	slices.Sort(prefixes)
	return slices.Compact(prefixes), nil
}

// multiWriter applies a note with prefixes: they take the place of those before.
func (a *applier) multiWriter(note []byte) error {
	prefixes, err := decodeMulti(note)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	prefixes = prefixes[:min(len(prefixes), maxMulti)]
	t := &a.dc.state.homes
	if slices.Equal(prefixes, t.multi) {
		return nil
	}
	a.dc.log.Info("multi-writer keyspaces within single-writer ones", "prefixes", prefixes, "before", t.multi)
	t.multi = prefixes
	a.batch.SetMeta(metaMulti, encodeMulti(prefixes))
	return nil
}

// nested says whether a multi-writer keyspace takes a key out of a single-writer one, given the length of its prefix.
func nested(multi []string, single int, key []byte) bool {
	for _, p := range multi {
		if len(p) > single && len(p) <= len(key) && string(key[:len(p)]) == p {
			return true
		}
	}
	return false
}

// tellMultiWriter has the log say what this leader's configuration says. It says whether nothing is left to be said.
func (d *DC) tellMultiWriter(ctx context.Context) (done bool) {
	want := slices.Clone(d.cfg.MultiWriter)
	slices.Sort(want)
	want = slices.Compact(want)
	if _, leading := d.Leading(); !leading || slices.Equal(want, d.published.Load().multi) {
		return true
	}
	_, err := d.proposeHome(ctx, item{kind: kindHome, note: encodeMulti(want)})
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotLeader) {
		d.log.Warn("could not put down the multi-writer keyspaces within single-writer ones", "prefixes", strings.Join(want, ", "), "error", err)
	}
	return err == nil
}
