// Package dev runs a whole geogate cluster, several datacenters, in one process: for a first look, for
// integration tests, and to rehearse disasters. Between the datacenters stand emulated WAN links that can
// be slowed, narrowed, cut and healed; datacenters can be stopped, killed and started again.
//
// It assembles; it serves no hop of the way of a write itself. The nodes are real and talk through real
// sockets: only the links between datacenters are proxies.
//
// A folder holds everything: the topology, the keys, the nodes' data, a lock, and while it runs the
// address at which other processes control it (see [Attach]). [Cluster] and [Client] are safe for
// concurrent use.
package dev
