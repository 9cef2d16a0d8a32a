package gateway

import (
	"context"

	"geogate/dc"
	"geogate/dc/auth"
)

// mayLease asks for every key of a lease: all of them end with it. The root role needs none of them.
func (c caller) mayLease(what Action, id int64) error {
	switch {
	case c.state == nil:
		return nil
	case c.name == "":
		return auth.ErrUserEmpty
	case c.state.MayAdminister(c.name) == nil:
		return nil
	}
	for _, key := range c.leaseKeys(id) {
		if err := c.may(what, key, nil); err != nil {
			return err
		}
	}
	return nil
}

// authorizeLeases asks for the keys of leases, as of this node: to write them, who revokes or renews the lease or
// attaches a key to it; to read them, who lists them.
func (s *Server) authorizeLeases(ctx context.Context, what Action, ids ...int64) error {
	return s.permit(ctx, func(c caller) error {
		for _, id := range ids {
			if err := c.mayLease(what, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// authorizeRevoke is authorizeLeases for a write, and returns the context under which the datacenter judges again.
func (s *Server) authorizeRevoke(ctx context.Context, id int64) (context.Context, error) {
	var name string
	revision := s.authRevision() // before the check
	err := s.permit(ctx, func(c caller) error {
		name = c.name
		return c.mayLease(ActionWrite, id)
	})
	if revision == 0 || err != nil {
		return ctx, err
	}
	return dc.WithUser(dc.WithAuthRevision(ctx, revision), name), nil
}
