package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"geogate/cmd/bench"
)

func newBench() *cobra.Command {
	return group(&cobra.Command{
		Use:   "bench",
		Short: "Measure puts, gets or transactions at any etcd v3 endpoint",
		Long: "bench runs a closed loop: each client sends its next request when the last one is answered. Up to\n" +
			"32 clients share a connection. Latency is of the requests that succeeded, as the clients see it.",
	}, newBenchOp(bench.Put), newBenchOp(bench.Get), newBenchOp(bench.Txn))
}

func newBenchOp(op bench.Op) *cobra.Command {
	c := bench.Config{Op: op}
	cmd := &cobra.Command{
		Use:   string(op),
		Short: benchShort(op),
		Args:  args(),
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.Endpoints, "endpoints", []string{"127.0.0.1:24000"}, "client addresses, separated by commas")
	f.IntVar(&c.Clients, "clients", 16, "requests under way at a time")
	f.IntVar(&c.Total, "total", 0, "requests in all (default 10000, or no bound with --duration)")
	f.DurationVar(&c.Duration, "duration", 0, "how long to run instead")
	f.IntVar(&c.ValueBytes, "value-bytes", 256, "size of a value")
	f.IntVar(&c.Keys, "keys", 10_000, "different keys, chosen at random")
	f.StringVar(&c.Prefix, "prefix", "/bench/", "start of every key")
	f.DurationVar(&c.Timeout, "timeout", 10*time.Second, "of one request")
	if op != bench.Get {
		f.StringVar(&c.Policy, "policy", "", "write policy to ask for: ALL, QUORUM, ANY or ASYNC (default as the server has it)")
	} else {
		f.BoolVar(&c.Serializable, "serializable", false, "read the node's own state instead of asking the leader")
	}
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for name, v := range map[string]int64{"clients": int64(c.Clients), "keys": int64(c.Keys), "value-bytes": int64(c.ValueBytes), "timeout": int64(c.Timeout)} {
			if v < 1 {
				return usagef("--%s is %d, want 1 or more", name, v)
			}
		}
		c.Policy = strings.ToUpper(c.Policy)
		if !slices.Contains([]string{"", "ALL", "QUORUM", "ANY", "ASYNC"}, c.Policy) {
			return usagef("--policy is %q, want ALL, QUORUM, ANY or ASYNC", c.Policy)
		}
		return runBench(cmd.Context(), cmd.OutOrStdout(), c, *o)
	}
	return cmd
}

func benchShort(op bench.Op) string {
	switch op {
	case bench.Put:
		return "Measure puts"
	case bench.Txn:
		return "Measure transactions of a compare and a put"
	}
	return "Measure gets, of keys that it puts before"
}

// runBench measures and prints. It fails when not one request succeeded; errors beside successes are a
// result like the others.
func runBench(ctx context.Context, w io.Writer, c bench.Config, o output) error {
	r, err := bench.Run(ctx, c)
	if errors.Is(err, bench.ErrConfig) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	if err := o.print(w, r, r.Write); err != nil {
		return err
	}
	if r.Errors > 0 && r.Errors == r.Total {
		return fmt.Errorf("all %d requests failed; the first: %s", r.Total, r.FirstError)
	}
	return nil
}
