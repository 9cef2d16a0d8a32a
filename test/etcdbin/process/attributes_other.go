//go:build !linux

package process

import "syscall"

// attributes keep a terminal's Ctrl-C from the child, because the parent stops it in order.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
