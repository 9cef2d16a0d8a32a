package dc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"geogate/consensus"
	"geogate/dc/store"
)

// NeedsCopy says of an error of [Open] that the data is damaged or lost and the log is not at fault, as far as
// that was looked at: [Rebuild] is the way out.
func NeedsCopy(err error) bool {
	return errors.Is(err, store.ErrDamaged) || errors.Is(err, consensus.ErrNeedsCopy)
}

// Rebuild replaces the data of a replica that does not open by a copy from another node of its datacenter; the
// next [Open] takes it over and replays what its own log has behind it. What is left of the old data is kept
// beside it under another name. Nothing is changed when it fails. See [consensus.Rebuild] for why it is safe.
func Rebuild(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	sc, cc := cfg.store(), cfg.Consensus
	cc.Dir, cc.Logger, cc.Listener = cfg.Dir, cfg.Logger, nil
	at, err := consensus.Rebuild(ctx, cc, func(at consensus.Applied, r io.Reader) error {
		return store.Verify(sc, store.Applied{Index: at.Index, Term: at.Term, Conf: at.ConfState}, r)
	})
	if err != nil {
		return fmt.Errorf("rebuild the data in %s: %w", cfg.Dir, err)
	}
	aside, err := store.SetAside(sc)
	if err != nil {
		return fmt.Errorf("rebuild the data in %s: a copy is there, move the damaged file away and start again: %w", cfg.Dir, err)
	}
	cfg.Logger.Warn("the data of this node is replaced by a copy from another node", "dir", cfg.Dir, "index", at.Index, "old_data", aside)
	return nil
}
