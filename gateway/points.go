package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"geogate/dc"
	"geogate/dc/store"
	"geogate/replication/homes"
)

// point is a place in what a life wrote. A list of them is a state: what it shows of a keyspace is there wherever all of them are applied.
type point struct {
	life     homes.Life
	revision int64
}

func (p point) String() string {
	return fmt.Sprintf("%s/%x/%d", p.life.DC, p.life.Incarnation, p.revision)
}

func formatPoints(points []point) string {
	parts := make([]string, len(points))
	for i, p := range points {
		parts[i] = p.String()
	}
	return strings.Join(parts, ",")
}

var errPoints = errors.New("not a list of DC/incarnation/revision")

func parsePoints(text string) (out []point, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		f := strings.Split(part, "/")
		if len(f) != 3 || f[0] == "" {
			return nil, fmt.Errorf("%w: %q", errPoints, part)
		}
		incarnation, err := strconv.ParseUint(f[1], 16, 64)
		revision, err2 := strconv.ParseInt(f[2], 10, 64)
		if err = errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("%w: %q: %w", errPoints, part, err)
		}
		out = append(out, point{homes.Life{DC: f[0], Incarnation: incarnation}, revision})
	}
	return out, nil
}

// pointsOf is all that counts of a keyspace now, where this datacenter is its home: its own writes so far, and
// those of earlier homes.
func (s *Server) pointsOf(keyspace string) []point {
	self := s.cfg.Origins.Life()
	out := []point{{self, s.cfg.Origins.AppliedOf(self)}}
	if reg, ok := s.cfg.Origins.Register(keyspace); ok {
		for _, t := range reg.State.Decided.Past {
			out = append(out, point{t.Home, t.Cut})
		}
	}
	return out
}

// awaitPoints returns once this node has applied all of them.
func (s *Server) awaitPoints(ctx context.Context, points []point) error {
	if len(points) == 0 {
		return nil
	}
	return s.awaitApplied(ctx, func() error {
		for _, p := range points {
			if at := s.cfg.Origins.AppliedOf(p.life); at < p.revision {
				return fmt.Errorf("%s has applied %s up to %d and needs %d", s.name, p.life, at, p.revision) //nolint:err113 // of one message
			}
		}
		return nil
	})
}

// errNotApplied marks the end of a wait for what other datacenters wrote.
var errNotApplied = errors.New("not applied here yet")

// awaitApplied waits, up to RequestTimeout, until missing says nil.
func (s *Server) awaitApplied(ctx context.Context, missing func() error) error {
	if missing() == nil {
		return nil
	}
	timer := time.NewTimer(s.cfg.RequestTimeout)
	defer timer.Stop()
	for {
		changed := s.dc.Changed()
		why := missing()
		if why == nil {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return fmt.Errorf("%w: %w, waited %s", errNotApplied, why, s.cfg.RequestTimeout)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w: %w", errNotApplied, why, ctx.Err())
		case <-s.stopping:
			return dc.ErrStopped
		}
	}
}

func isCompacted(err error) bool { return errors.Is(err, store.ErrCompacted) }
