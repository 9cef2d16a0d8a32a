// Package etcdbin builds the servers that geogate is compared with, in the versions that the repository
// pins, and runs a real etcd of one or three members on loopback. Benches and tests use it; it is on no hop
// of a write.
//
// The programs are built through the Go toolchain into the user's cache folder, once per version:
// concurrent callers, in this process or another, wait for the one that builds. A [Cluster] stops when its
// context ends, and its members are children that the kernel kills if the parent dies.
package etcdbin
