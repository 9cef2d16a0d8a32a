// Bench compares a geogate datacenter with the real etcd: the same operations from the same load generator,
// on one machine, in one run, with the durability that each has by default.
//
// All servers of a comparison are up for the whole of it, and are measured in turn: A, B, then B, A, and so
// on, so that what else the machine does in these minutes meets all of them. The load generator is a
// process of its own, and what the hypervisor disturbs is measured again. A gRPC server that answers etcd's Put, Range and Txn and does
// nothing stands beside them: what gRPC's server, this client and this machine leave of any server behind them.
//
// README.md says how to run it and how to read what it prints.
package main
