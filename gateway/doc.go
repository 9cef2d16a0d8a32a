// Package gateway serves etcd's v3 gRPC API in front of one node of a datacenter.
//
// It is the first and the last hop of the way of a write: it checks the request, finds the keyspace and the
// policy, passes the write to the datacenter (or the whole request over a [trunk] to the gateway of the node that leads),
// waits until the policy is met and answers with a receipt. Reads and watches are answered by this node.
//
//	client -> validate -> authorize -> resolve policy -+-> (not leading) the leader's gateway
//	                                                   +-> check policy -> commit -> wait for peers -> receipt
//
// What is plain comes over a lane of package [express] and takes the same way without a goroutine that waits.
//
// Concurrency: [Server] is made by [New], which starts nothing; [Server.Run] owns every goroutine and returns
// when they are gone. Handlers run in grpc's goroutines, and over lanes in those that read connections; they share
// only what is immutable after New, the pool of connections to other nodes, the lists of writes and reads that wait, and the
// metrics. Watches are served by package [watch].
package gateway
