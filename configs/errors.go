package configs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	// ErrInvalid marks a topology with problems; errors.As finds them as [Problems].
	ErrInvalid = errors.New("invalid topology")
	// ErrKey marks a datacenter key that is missing, damaged or another datacenter's.
	ErrKey = errors.New("datacenter key")
)

// Problem is one thing wrong with a topology.
type Problem struct {
	File    string `json:"file,omitempty"` // or the environment variable; empty for a topology built in code
	Line    int    `json:"line,omitempty"` // from 1; 0 when there is none to point at
	Key     string `json:"key,omitempty"`  // datacenters[0].nodes[1].client
	Message string `json:"message"`        // what was found, what was expected, what to do
}

func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is everything wrong with a topology, in the order of the file.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Is makes Problems an [ErrInvalid].
func (ps Problems) Is(target error) bool { return target == ErrInvalid }

func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Line - b.Line })
	return ps
}
