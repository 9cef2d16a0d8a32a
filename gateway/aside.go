package gateway

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"

	"geogate/replication/homes"
	"geogate/replication/policy"
)

// asideError says that a write was committed by a home and does not count, because a failover decided so.
type asideError struct {
	token    policy.Token
	keyspace string
	decided  homes.Value // that ended the epoch of the write
	cut      int64       // up to which writes of that epoch count
}

func (e *asideError) Error() string {
	return fmt.Sprintf("the write %s was committed in %s only, then set aside by the failover of keyspace %q to %s, epoch %d: writes of epoch %d count up to "+
		"revision %d. It is not in the data; see `geogate dr quarantine` to replay or discard it",
		e.token, e.token.Origin, e.keyspace, e.decided.Home.DC, e.decided.Epoch, e.token.Epoch, e.cut)
}

// status has a code that nobody repeats: who writes again must know that something else was written meanwhile.
func (e *asideError) status() error {
	return withInfo(codes.FailedPrecondition, e.Error(), reasonSetAside, map[string]string{
		infoToken: e.token.String(), infoKeyspace: e.keyspace, infoHome: e.decided.Home.DC, infoEpoch: strconv.FormatUint(e.decided.Epoch, 10),
	})
}

// setAsideIn says whether a write of a keyspace is set aside, by the register as it is applied here; nil when it is not.
func (s *Server) setAsideIn(keyspace string, t policy.Token) error {
	reg, ok := s.cfg.Origins.Register(keyspace)
	if !ok {
		return nil
	}
	for _, past := range reg.State.Decided.Past {
		if past.Epoch == t.Epoch && past.Home.DC == t.Origin && t.Revision > past.Cut {
			return &asideError{token: t, keyspace: keyspace, decided: reg.State.Decided, cut: past.Cut}
		}
	}
	return nil
}

// setAside is setAsideIn for a token by itself, which does not name its keyspace. An epoch that several keyspaces
// have had with the same home says nothing unless the write would be set aside in each of them.
func (s *Server) setAside(t policy.Token) (found error) {
	if t.Epoch == 0 || !s.keyspaces.anySingle {
		return nil
	}
	counts := false
	s.keyspaces.each(func(prefix string, r rule) {
		if r.single == nil {
			return
		}
		if err := s.setAsideIn(prefix, t); err != nil {
			found = err
			return
		}
		reg, _ := s.cfg.Origins.Register(prefix)
		counts = counts || hadEpoch(reg.State.Decided, t)
	})
	if counts {
		return nil
	}
	return found
}

// hadEpoch says whether the token's origin is or was the home in the token's epoch.
func hadEpoch(v homes.Value, t policy.Token) bool {
	if v.Epoch == t.Epoch && v.Home.DC == t.Origin {
		return true
	}
	for _, past := range v.Past {
		if past.Epoch == t.Epoch && past.Home.DC == t.Origin {
			return true
		}
	}
	return false
}

// anyAside is the first of several tokens whose write is set aside.
func (s *Server) anyAside(tokens []policy.Token) error {
	for _, t := range tokens {
		if err := s.setAside(t); err != nil {
			return err
		}
	}
	return nil
}

func isAside(err error) bool {
	aside := (*asideError)(nil)
	return errors.As(err, &aside)
}
