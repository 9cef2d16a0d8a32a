package process

import "syscall"

// attributes keep a terminal's Ctrl-C from the child, because the parent stops it in order, and have the
// kernel kill it when the parent dies without doing so.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
