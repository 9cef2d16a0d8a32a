// Package test holds what no single package can show: real datacenters, processes and etcd clients, and the
// rules that keep the structure. Nothing imports it.
package test
