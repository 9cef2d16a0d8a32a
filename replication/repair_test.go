package replication

import (
	"errors"
	"strings"
	"testing"

	"geogate/replication/verify"
)

// An entry of the system table must never be repaired as the key of that name; the answer says what to do.
func TestRepairOfASystemEntryIsRefused(t *testing.T) {
	_, err := (&Engine{}).RepairKey(t.Context(), "b", verify.Copy{Key: []byte("user/ann"), Known: true, System: true})
	if !errors.Is(err, ErrRepair) || !strings.Contains(err.Error(), "etcdctl user") {
		t.Errorf("%v", err)
	}
}
