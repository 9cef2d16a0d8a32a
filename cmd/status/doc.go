// Package status reads a node's state from its admin port and prints it for people. It is the client end
// of GET /v1/status; the commands status, lag and dev use it.
//
// All functions are safe for concurrent use.
package status
