// Package importer copies keys and leases from an etcd into geogate, and can follow the etcd until its users have
// moved. It is a client of both and serves no hop of the way of a write.
//
// It works in passes. A pass compares the two sides in key order, the etcd at one revision, and writes what differs;
// then the etcd's changes from that revision on are followed. Whatever goes wrong (history compacted, a lease lost, an
// importer killed) is answered by another pass, which writes only what is missing. So nothing but a note that an
// import is under way is ever stored, and the same command resumes it.
//
// Concurrency: [Run] owns everything that it starts. All writes are made by one goroutine, in order; another one
// keeps leases alive.
package importer
