package verify

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// KeyspaceOf is the keyspace of a key: the longest of the prefixes that it has, "" when it has none of them.
func KeyspaceOf(prefixes []string, key []byte) (longest string) {
	for _, p := range prefixes {
		if len(p) > len(longest) && bytes.HasPrefix(key, []byte(p)) {
			longest = p
		}
	}
	return longest
}

// Tally counts copies that differ by where they belong.
type Tally struct {
	Keyspaces map[string]int // by prefix; those with any
	System    int            // entries of the system table: users, roles
}

// Add counts a copy.
func (t *Tally) Add(prefixes []string, c *Copy) {
	if c.System {
		t.System++
		return
	}
	if t.Keyspaces == nil {
		t.Keyspaces = map[string]int{}
	}
	t.Keyspaces[KeyspaceOf(prefixes, c.Key)]++
}

// Same says whether two tallies are the same.
func (t *Tally) Same(o *Tally) bool {
	return t.System == o.System && maps.Equal(t.Keyspaces, o.Keyspaces)
}

// String names the keyspaces in order with their counts, as in `"" 1, "app/" 3, system table 2`.
func (t *Tally) String() string {
	var parts []string
	for _, p := range slices.Sorted(maps.Keys(t.Keyspaces)) {
		parts = append(parts, fmt.Sprintf("%q %d", p, t.Keyspaces[p]))
	}
	if t.System > 0 {
		parts = append(parts, fmt.Sprintf("system table %d", t.System))
	}
	return strings.Join(parts, ", ")
}
