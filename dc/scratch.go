package dc

import "geogate/replication/event"

// scratch is what the apply goroutine uses for one entry after another, so that an entry leaves no garbage but what
// somebody keeps. Nothing of it may outlive the entry: whoever keeps a part copies it.
type scratch struct {
	entry   entry
	results []result
	txns    []event.Txn
	ops     []event.Op
}

// maxScratch is how many items are kept room for; a larger entry's goes with it.
const maxScratch = 4096

// resultsOf is room for the results of n items, all zero.
func (s *scratch) resultsOf(n int) []result {
	if cap(s.results) < n {
		s.results = make([]result, n)
	}
	s.results = s.results[:n]
	return s.results
}

// release lets go of what the entry has left.
func (s *scratch) release() {
	s.entry.items = released(s.entry.items)
	s.results, s.txns, s.ops = released(s.results), released(s.txns), released(s.ops)
}

func released[T any](s []T) []T {
	if cap(s) > maxScratch {
		return nil
	}
	clear(s)
	return s[:0]
}
