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
	// Whatever ends the run early, everything is stopped and removed. A closed pipe is seen where it is written
	// to: the signal of it must not kill, and it comes for every connection to a node that is killed too.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
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
