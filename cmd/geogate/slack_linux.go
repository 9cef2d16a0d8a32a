package main

import (
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// usualSlack is the kernel's own: how much later than asked for a thread may be woken.
	usualSlack = 50 * time.Microsecond
	// nodeSlack is late enough that wake-ups fall together, and no matter for anything that a node waits for.
	nodeSlack = time.Millisecond
)

// loosenTimers gives all threads of a node a larger timer slack. Go's monitor naps for 20 µs again and again while there is work, and
// threads that look for work nap for 3 µs: thousands of wake-ups a second that find nothing, a tenth to a quarter of the CPU time of a
// node that answers small requests.
//
// The slack is of a thread, those of Go are there before any code of ours, and only what a thread starts inherits it. So the program
// is executed anew once, as the same process. What the slack was set to from outside, as by systemd's TimerSlackNSec, stays. See
// prctl(2), PR_SET_TIMERSLACK.
func loosenTimers(args []string) {
	if !slices.Contains(args, "serve") {
		return
	}
	runtime.LockOSThread() // of this thread the executed program inherits it
	defer runtime.UnlockOSThread()
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || time.Duration(slack) != usualSlack {
		return
	}
	program, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(nodeSlack), 0, 0, 0) != nil {
		return
	}
	_ = syscall.Exec(program, os.Args, os.Environ()) //nolint:gosec // this program; if that can't be, the node only works more
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(usualSlack), 0, 0, 0)
}
