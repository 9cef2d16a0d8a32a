package registrar

import (
	"time"

	"geogate/replication/homes"
)

// fence is an instance that stands open: at the own acceptor, or at one that refuses the home's renewals.
type fence struct {
	epoch  uint64
	ballot homes.Ballot // the highest promised one that is known
	since  time.Time    // since when that ballot has been seen
	wait   time.Duration
	at     map[string]homes.Ballot // by acceptor that refused a renewal
}

func (f *fence) refused(dc string, epoch uint64, b homes.Ballot, now time.Time) {
	if f.epoch != epoch {
		*f = fence{epoch: epoch}
	}
	if f.at == nil {
		f.at = map[string]homes.Ballot{}
	}
	f.at[dc] = b
	f.see(b, now)
}

func (f *fence) granted(dc string) { delete(f.at, dc) }

// see notes a ballot; a higher one is a move that goes on.
func (f *fence) see(b homes.Ballot, now time.Time) {
	if f.since.IsZero() || b.Compare(f.ballot) > 0 {
		f.ballot, f.since, f.wait = b, now, 0
	}
}

// open says whether anything is fenced, as far as is known.
func (f *fence) open(own bool) bool { return own || len(f.at) > 0 }
