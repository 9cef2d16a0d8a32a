// Package bench measures the latency and rate of puts and gets at any etcd v3 endpoint: a closed loop of
// clients over a few connections, each sending its next request when the last one is answered.
//
// It stands outside the way of a write and sees what an application sees. [Run] owns all its goroutines
// and returns when they are gone; nothing is shared between runs.
package bench
