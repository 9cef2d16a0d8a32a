// Package drill rehearses disasters: it does to a cluster, on purpose, what a scenario says, while probe clients
// write and read a canary prefix at every datacenter, measures what they saw, checks that every acknowledged write is
// in every datacenter, puts everything back as it was, and makes a report. It is behind `geogate dr drill`.
//
// It stands outside: it uses etcd's API, the admin port and, for faults, the control port of a dev cluster. README.md
// has the formats of scenarios and reports, and what each figure means.
//
// [Run] owns all goroutines that it starts and returns when they are gone. A drill's memory is bounded by its time
// limit and its rate, which are checked before it begins.
package drill
