package check

import (
	"fmt"
	"maps"
	"slices"
)

// Event is one event of a watch.
type Event struct {
	Revision int64
	Key      string
	Delete   bool
	Value    uint64 // a hash
}

func (e Event) String() string {
	verb := "put"
	if e.Delete {
		verb = "delete"
	}
	return fmt.Sprintf("%s %s at %d", verb, e.Key, e.Revision)
}

type place struct {
	revision int64
	key      string
}

// Watch compares what a watcher saw, over all its reconnects, with the history of its datacenter: the same
// events in the same order, each once, nothing else.
func Watch(history, seen []Event) []string {
	at := make(map[place]int, len(history))
	for i, e := range history {
		at[place{e.Revision, e.Key}] = i
	}
	var bad list
	next := 0 // of history
	for _, e := range seen {
		i, known := at[place{e.Revision, e.Key}]
		switch {
		case !known:
			bad.addf("saw %s, which is not in the history", e)
			continue
		case history[i] != e:
			bad.addf("saw %s with other content than the history has", e)
		case i < next:
			bad.addf("saw %s after %s: twice, or out of order", e, history[next-1])
			continue
		case i > next:
			bad.addf("missed %d events from %s to %s", i-next, history[next], history[i-1])
		}
		next = i + 1
	}
	if next < len(history) {
		bad.addf("missed the last %d events, from %s on", len(history)-next, history[next])
	}
	return bad.problems()
}

// Version is the newest version of a key.
type Version struct {
	Revision int64
	Value    uint64 // a hash
}

// History checks a datacenter's whole history against its data: revisions grow by one from 2, the first
// write's, to the last, and what the events leave behind is what is there.
func History(history []Event, last int64, data map[string]Version) []string {
	var bad list
	left := map[string]Version{}
	revision := int64(1)
	for _, e := range history {
		switch {
		case e.Revision < revision:
			bad.addf("%s comes after revision %d", e, revision)
		case e.Revision > revision+1:
			bad.addf("no event from revision %d to %d", revision+1, e.Revision-1)
		}
		revision = e.Revision
		if e.Delete {
			delete(left, e.Key)
		} else {
			left[e.Key] = Version{e.Revision, e.Value}
		}
	}
	if revision != last {
		bad.addf("the history ends at revision %d, the data is at %d", revision, last)
	}
	for _, key := range slices.Sorted(maps.Keys(left)) {
		if have, ok := data[key]; !ok || have != left[key] {
			bad.addf("%s: the events end with revision %d, the data has %+v", key, left[key].Revision, data[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if _, ok := left[key]; !ok {
			bad.addf("%s is in the data at revision %d, without an event", key, data[key].Revision)
		}
	}
	return bad.problems()
}
