// Bench compares a geogate datacenter with the real etcd: the same operations from the same load generator,
// on one machine, in one run, with the durability that each has by default.
//
// All servers of a comparison are up for the whole of it, and are measured in turn: A, B, then B, A, and so
// on, so that what else the machine does in these minutes meets all of them. The load generator is a
// process of its own. A gRPC server that answers etcd's Put and Range and does nothing stands beside them:
// no etcd-compatible server can be faster than it with this client on this machine.
//
// README.md says how to run it and how to read what it prints.
package main
