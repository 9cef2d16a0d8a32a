package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"geogate/cmd/bench"
)

// loadArgs are the arguments of `geogate bench` for a case.
func loadArgs(c testCase, endpoints []string, cfg *Config) []string {
	verb := map[op]string{opPut: "put", opRange: "get", opLocal: "get", opTxn: "txn"}[c.Op]
	args := []string{
		"bench", verb, "--endpoints", endpointList(endpoints), "--clients", strconv.Itoa(c.Clients),
		"--value-bytes", strconv.Itoa(cfg.ValueBytes), "-o", "json",
	}
	if c.Op == opLocal {
		args = append(args, "--serializable")
	}
	if c.Policy != "" {
		args = append(args, "--policy", c.Policy)
	}
	if c.Total > 0 {
		return append(args, "--total", strconv.Itoa(c.Total))
	}
	return append(args, "--duration", cfg.Duration.String())
}

func endpointList(endpoints []string) string { return strings.Join(endpoints, ",") }

const loadStopTimeout = 5 * time.Second

// loadGOGC spaces a load generator's garbage collections: it holds next to nothing, and would collect all the time.
const loadGOGC = "GOGC=400"

// load runs the load generator as a process of its own and returns what it measured and the CPU that it used.
func load(ctx context.Context, program string, args []string) (bench.Result, time.Duration, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = loadStopTimeout
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := startSpare(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		if ctx.Err() != nil {
			return bench.Result{}, 0, context.Cause(ctx)
		}
		return bench.Result{}, 0, fmt.Errorf("%w: %s %s: %w: %s", errLoad, program, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	r, err := parseLoad(stdout.Bytes())
	if err != nil {
		return r, 0, fmt.Errorf("%w: %s %s: %w", errLoad, program, strings.Join(args, " "), err)
	}
	return r, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// parseLoad reads a result and refuses one that says nothing about the server.
func parseLoad(out []byte) (bench.Result, error) {
	var r bench.Result
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("read its result: %w, in %.200q", err, out)
	}
	if r.Total == 0 || r.Total == r.Errors {
		return r, fmt.Errorf("none of %d operations succeeded; the first error: %s", r.Total, r.FirstError)
	}
	return r, nil
}
