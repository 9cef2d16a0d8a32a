//go:build !linux

package main

import (
	"os"
	"os/exec"
)

// startSpare starts a load generator that collects garbage less often.
func startSpare(cmd *exec.Cmd) error {
	cmd.Env = append(os.Environ(), loadGOGC)
	return cmd.Start()
}
