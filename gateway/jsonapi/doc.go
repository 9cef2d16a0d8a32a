// Package jsonapi answers etcd's JSON over HTTP: each request becomes the gRPC call that it stands for, to the
// gateway of the same node, so both ways in are checked, routed and answered alike. It stands before the first
// hop of the way of a write.
//
// Concurrency: the handler may serve any number of requests at a time; it keeps no state between them.
package jsonapi
