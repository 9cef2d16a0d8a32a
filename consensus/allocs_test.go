package consensus

import (
	"testing"

	"geogate/test/allocs"
)

// TestAllocationsOfAProposal is one write at a time on one node, from the queue through the log to the machine.
func TestAllocationsOfAProposal(t *testing.T) {
	_, machine := bulkGroup(t, 1, 256)
	allocs.AtMost(t, "a proposal", 14, machine.write)
}
