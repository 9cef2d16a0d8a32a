package dc

import (
	"encoding/binary"
	"slices"
	"strings"

	"geogate/replication/homes"
)

// Asides counts what is set aside here, by keyspace. It reads all of it, which is bounded; see [DC.Aside].
func (d *DC) Asides() (out []homes.Aside, err error) {
	at := map[string]int{}
	d.store.EachRecord(tableAside, "", func(key string, value []byte) bool {
		var w aside
		if w, err = decodeAside(binary.BigEndian.Uint64([]byte(key)), value); err != nil {
			return false
		}
		i, known := at[w.keyspace]
		if !known { // numbers ascend: this one is the oldest
			i = len(out)
			at[w.keyspace] = i
			out = append(out, homes.Aside{Keyspace: w.keyspace, Oldest: w.at.Time()})
		}
		out[i].Writes++
		out[i].Bytes += w.counted(value)
		if w.lease != 0 && !w.deleted {
			out[i].Leased++
		}
		return true
	})
	slices.SortFunc(out, func(a, b homes.Aside) int { return strings.Compare(a.Keyspace, b.Keyspace) })
	return out, err
}
