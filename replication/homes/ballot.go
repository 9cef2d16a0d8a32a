package homes

import (
	"cmp"
	"fmt"
)

// Ballot orders the proposals of an epoch. Round 0 belongs to the home of the epoch before, which may propose its
// successor without asking first; the zero Ballot is none.
type Ballot struct {
	Round uint64
	DC    string // the proposer
}

// Compare orders by round, then by the proposer's name.
func (b Ballot) Compare(c Ballot) int {
	if d := cmp.Compare(b.Round, c.Round); d != 0 {
		return d
	}
	return cmp.Compare(b.DC, c.DC)
}

func (b Ballot) String() string {
	if b == (Ballot{}) {
		return "none"
	}
	return fmt.Sprintf("%d.%s", b.Round, b.DC)
}
