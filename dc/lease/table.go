package lease

import (
	"maps"
	"slices"
)

// Table is the leases that are granted.
type Table struct{ leases map[int64]Lease }

// NewTable is a table without leases.
func NewTable() *Table { return &Table{leases: map[int64]Lease{}} }

// Len is the number of leases.
func (t *Table) Len() int { return len(t.leases) }

// Get finds a lease.
func (t *Table) Get(id int64) (Lease, bool) {
	l, ok := t.leases[id]
	return l, ok
}

// IDs are the ids of all leases, ascending.
func (t *Table) IDs() []int64 { return slices.Sorted(maps.Keys(t.leases)) }

// Grant enters a lease.
func (t *Table) Grant(l Lease) error {
	if _, taken := t.leases[l.ID]; taken {
		return ErrExists
	}
	t.leases[l.ID] = l
	return nil
}

// Revoke takes a lease out. It says whether it was there: under this id, and granted there unless granted is 0.
func (t *Table) Revoke(id int64, granted uint64) bool {
	l, ok := t.leases[id]
	if !ok || granted != 0 && granted != l.Granted {
		return false
	}
	delete(t.leases, id)
	return true
}

// Checkpoint takes over what is left of a lease. It returns the lease as it is then; false when there is none
// or nothing changes.
func (t *Table) Checkpoint(c Lease) (Lease, bool) {
	l, ok := t.leases[c.ID]
	if !ok || c.Granted != l.Granted || c.Remaining == l.Remaining || c.Remaining < 0 || c.Remaining > l.TTL {
		return Lease{}, false
	}
	l.Remaining = c.Remaining
	t.leases[c.ID] = l
	return l, true
}
