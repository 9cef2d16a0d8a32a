// Package wakeups is a test kit: it counts how often goroutines begin to run. What a process costs at rest is
// mostly that, and unlike CPU time it does not depend on the machine. In a bubble of testing/synctest an hour of
// rest takes no time; a goroutine that polls shows there, and one that waits to be told does not.
//
// A test that uses it may not run beside parallel ones: their goroutines are counted too.
package wakeups
