//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"geogate/test/wan"
)

func main() {
	// Whatever ends the run early, a closed pipe included, everything is stopped and removed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := newCommand().ExecuteContext(ctx)
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, wan.ErrUnavailable):
		_, _ = fmt.Fprintln(os.Stderr, "faults: NOT RUN, nothing was tested:", err)
		return
	}
	_, _ = fmt.Fprintln(os.Stderr, "faults:", err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}
