package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// report is everything that was measured; it is the JSON file.
type report struct {
	Command     []string          `json:"command"`
	Started     time.Time         `json:"started"`
	Seconds     float64           `json:"seconds"`
	Machine     machine           `json:"machine"`
	Versions    map[string]string `json:"versions"` // by side
	Rounds      int               `json:"rounds"`
	Duration    float64           `json:"duration_seconds"` // of one measurement
	ValueBytes  int               `json:"value_bytes"`
	Target      string            `json:"target"`
	Comparisons []*comparison     `json:"comparisons,omitempty"`
	Geo         []geoRow          `json:"geo,omitempty"`    // with --geo, each measured once
	Growth      []growthRow       `json:"growth,omitempty"` // with --growth, each measured once
	Repeated    int               `json:"repeated"`         // measurements made again because the hypervisor took too much
	Warnings    []string          `json:"warnings,omitempty"`
}

// comparison is one table: sides of the same number of nodes.
type comparison struct {
	Name  string        `json:"name"`
	Sides []string      `json:"sides"`
	Cases []*caseResult `json:"cases"`
}

// caseResult is one line of a table.
type caseResult struct {
	testCase
	Samples map[string][]sample `json:"samples"` // by side, in the order of the rounds
	Medians map[string]sample   `json:"medians"`
	// Ratio is geogate's median rate divided by etcd's, and OfCeiling by the ceiling's; 0 without both sides.
	Ratio     float64 `json:"ratio"`
	OfCeiling float64 `json:"of_ceiling"`
	// RoundRatios are geogate's rate divided by etcd's in each round: how far Ratio can be trusted.
	RoundRatios []float64 `json:"round_ratios,omitempty"`
}

// finish computes what follows from the samples.
func (r *caseResult) finish() {
	r.Medians = map[string]sample{}
	for side, samples := range r.Samples {
		r.Medians[side] = medians(samples)
	}
	ours := r.Medians[sideGeogate].Rate
	r.Ratio = divide(ours, r.Medians[sideEtcd].Rate)
	r.OfCeiling = divide(ours, r.Medians[sideCeiling].Rate)
	r.RoundRatios = nil
	for i, s := range r.Samples[sideGeogate] {
		if theirs := r.Samples[sideEtcd]; i < len(theirs) {
			r.RoundRatios = append(r.RoundRatios, divide(s.Rate, theirs[i].Rate))
		}
	}
}

// divide is 0 where a side is missing.
func divide(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func (r *report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
