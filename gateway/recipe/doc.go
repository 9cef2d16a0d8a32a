// Package recipe serves etcd's Lock and Election APIs, which are recipes of etcd's own client (client/v3/concurrency) over
// the other APIs of a gateway. A [Client] is one of the very gateway that serves them, in memory.
//
// Concurrency: every call runs in its handler's goroutine, with one beside it that ends it when the gateway stops.
// [Client.Stop] lets calls under way take back what they have written, [Client.Close] ends everything.
package recipe
