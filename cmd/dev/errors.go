package dev

import "errors"

// Of opening a folder.
var (
	// ErrConfig marks a cluster that can't be started as described.
	ErrConfig = errors.New("invalid dev cluster")
	// ErrLocked means that another process runs the cluster in this folder.
	ErrLocked = errors.New("already running")
)

// Of controlling a running cluster.
var (
	// ErrNotRunning means that no process runs the cluster in this folder.
	ErrNotRunning = errors.New("not running")
	// ErrUnknown marks a datacenter, link or action that there is not.
	ErrUnknown = errors.New("unknown")
	// ErrState means that a datacenter is not in the state that an action needs.
	ErrState = errors.New("wrong state")
)
