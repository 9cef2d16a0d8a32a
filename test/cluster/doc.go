// Package cluster runs real `geogate serve` processes for tests: several datacenters on loopback, each node
// its own process, with a TCP link between every two datacenters that a test can cut.
//
// Every process dies with the test, whatever becomes of it. A test that fails leaves the nodes' logs in its
// output. Methods may be called from any goroutine.
package cluster
