// Package allocs is a test kit: it fails a test when an operation allocates more often than it did when its
// bound was written down. Allocations don't depend on how busy a machine is, so this notices on any machine
// what a measurement of time notices only on a quiet one.
//
// A test that uses it may not run beside parallel ones: what they allocate is counted too. Under the race
// detector, which allocates by itself, it is skipped: `make test` runs these tests once more without.
package allocs
