// Package process runs servers as child processes that never outlive their parent: each is waited for, is
// stopped when its context ends, and on Linux is killed by the kernel when the parent dies in any other way.
//
// Every [Process] is owned by one goroutine, which starts it, waits for it and then ends. The methods may be
// called from any goroutine.
//
// [Ports] and [PortRange] choose ports for servers, not the same for two test processes at once.
package process
