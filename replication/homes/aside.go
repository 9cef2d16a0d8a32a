package homes

import "time"

// Aside is what a datacenter keeps of one keyspace's writes that don't count.
type Aside struct {
	Keyspace string    `json:"keyspace"`
	Writes   int       `json:"writes"`
	Leased   int       `json:"leased"` // of them, puts that were bound to a lease
	Bytes    int64     `json:"bytes"`
	Oldest   time.Time `json:"oldest"` // when the first of them was set aside
}
