// Package admin is a node's HTTP API for operators and machines: status, conflicts, health events, health and
// readiness, metrics and profiles. It stands beside the way of a write and changes nothing.
//
// Only a datacenter's leader knows the peers, so a follower asks the leader's admin API for that part. See
// README.md for the table of paths.
//
// Concurrency: [New] starts nothing, [Server.Run] owns every goroutine. Handlers share nothing that changes.
package admin
