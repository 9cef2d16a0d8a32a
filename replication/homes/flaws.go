package homes

// flaws takes protections out, so that tests can see that they are needed. It is 0 outside of tests.
type flaws uint32

const (
	voteForgotten         flaws = 1 << iota // a promise doesn't report the vote
	promiseForgotten                        // an accept below the promise is taken
	fenceForgotten                          // a promise doesn't stop the old home
	ballotUsedTwice                         // after a crash the same ballot is used again
	conceded                                // the home proposes without having drained
	ackedBeforeDecided                      // what is applied up to a proposed cut is acknowledged
	ackedSetAside                           // a home that doesn't know of its end gets acks for what was set aside
	cutFromOne                              // the first promise gives the cut
	leaseForgottenOnLearn                   // a new epoch makes an acceptor forget the lease it granted
	leaseOverLease                          // a new home gets a lease while the old one may hold its own
	leaseFromReceipt                        // the home counts from the receipt of the grant
	votesAfterLoss                          // an acceptor that lost its past votes at once
	ackedAfterLoss                          // it acknowledges although it may have promised not to
	admittedBehind                          // it votes before it has what it may have acknowledged
	openMoveOverlooked                      // it votes although others have promised something that it may have, too
)

func (f flaws) has(g flaws) bool { return f&g != 0 }
