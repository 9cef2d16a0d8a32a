package main

import (
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// loadSlack is how late the threads of a load generator may be woken by a timer. Its requests and their answers do not
// wait for timers, but Go's monitor naps for 20 µs again and again.
const loadSlack = time.Millisecond

// startSpare starts a load generator so that it takes less of the cores which it shares with the servers, whichever side they
// are of. Timer slack is of a thread, and inherited by the processes that it starts.
func startSpare(cmd *exec.Cmd) error {
	cmd.Env = append(os.Environ(), loadGOGC)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if was, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil {
		if unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(loadSlack), 0, 0, 0) == nil {
			defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(was), 0, 0, 0) }() // as before: it can't be refused
		}
	}
	return cmd.Start()
}
