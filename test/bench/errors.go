package main

import "errors"

// Errors before anything runs.
var errUsage = errors.New("usage")

// Errors of a run.
var (
	errLoad    = errors.New("the load generator failed")
	errNoWay   = errors.New("nothing gets through")
	errNoPlot  = errors.New("no test/tools/plot")
	errNoAdmin = errors.New("no admin address")
)
