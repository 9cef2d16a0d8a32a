package main

import (
	"context"
	"os/exec"
	"strings"
)

// commit names the state of the source tree that this runs in; the program was presumably built from it.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown" // not a git checkout
	}
	return strings.TrimSpace(string(out))
}
