package drill

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"geogate/cmd/dev"
	"geogate/configs"
)

//go:embed scenarios/*.yaml
var builtin embed.FS

// Builtin are the names of the scenarios that come with geogate.
func Builtin() []string {
	entries, _ := fs.ReadDir(builtin, "scenarios") // it is in the program
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// Source is the text of a built-in scenario.
func Source(name string) ([]byte, error) {
	data, err := builtin.ReadFile(path.Join("scenarios", name+".yaml"))
	if err != nil {
		return nil, fmt.Errorf("scenario %q %w; built in are: %s", name, ErrNotFound, strings.Join(Builtin(), ", "))
	}
	return data, nil
}

// Find reads a built-in scenario, or a file.
func Find(nameOrFile string) (*Scenario, error) {
	if slices.Contains(Builtin(), nameOrFile) {
		data, err := Source(nameOrFile)
		if err != nil {
			return nil, err
		}
		return Parse(nameOrFile+".yaml", data)
	}
	data, err := os.ReadFile(nameOrFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("scenario %q %w: it is no file, and built in are: %s", nameOrFile, ErrNotFound, strings.Join(Builtin(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("read the scenario: %w", err)
	}
	return Parse(nameOrFile, data)
}

// Parse reads a scenario. file stands for it in messages. The error holds [configs.Problems] when the content is at
// fault.
func Parse(file string, data []byte) (*Scenario, error) {
	s := defaults()
	err := configs.Decode(file, "scenario", data, &s, s.check)
	if err != nil {
		return nil, fmt.Errorf("%w:\n%w", ErrScenario, err)
	}
	s.Load.Policy = strings.ToUpper(s.Load.Policy)
	return &s, nil
}

// reporter tells of a problem with the value at a path.
type reporter = func(path, format string, args ...any)

// check finds what is wrong with a scenario whatever the cluster.
func (s *Scenario) check(report reporter) {
	switch {
	case s.Name == "":
		report("name", "is missing; give the scenario a name, such as lose-dc")
	case strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" || strings.HasPrefix(s.Name, "."):
		report("name", "is %q; use letters, digits, - and _, because files are named after it", s.Name)
	}
	if s.Prefix == "" {
		report("prefix", `is ""; give the probes a prefix of their own, such as /geogate.drill/`)
	}
	s.checkLoad(report)
	if s.TimeLimit <= 0 || s.TimeLimit > maxTimeLimit {
		report("time_limit", "is %s, want more than 0 and at most %s", s.TimeLimit, maxTimeLimit)
	}
	if s.StepLimit <= 0 || s.StepLimit > maxTimeLimit {
		report("step_limit", "is %s, want more than 0 and at most %s", s.StepLimit, maxTimeLimit)
	}
	if s.AbortFactor < 1 || s.AbortFactor > maxFactor {
		report("abort_factor", "is %d, want 1 to %d; 5 is the default", s.AbortFactor, maxFactor)
	}
	if len(s.Steps) == 0 || len(s.Steps) > maxSteps {
		report("steps", "has %d steps, want 1 to %d, such as `- wait: 5s`", len(s.Steps), maxSteps)
	}
	for i := range s.Steps {
		s.Steps[i].check(fmt.Sprintf("steps[%d]", i), report)
	}
	s.Objectives.check(report)
}

func (s *Scenario) checkLoad(report reporter) {
	l := &s.Load
	if l.Writers < 1 || l.Writers > maxProbes {
		report("load.writers", "is %d, want 1 to %d in each datacenter", l.Writers, maxProbes)
	}
	if l.Readers < 0 || l.Readers > maxProbes {
		report("load.readers", "is %d, want 0 to %d in each datacenter", l.Readers, maxProbes)
	}
	if l.Rate < 1 || l.Rate > maxRate {
		report("load.rate", "is %d, want 1 to %d writes a second in each datacenter", l.Rate, maxRate)
	}
	if l.Timeout <= 0 {
		report("load.timeout", "is %s, want more than 0, such as 5s", l.Timeout)
	}
	if p := strings.ToUpper(l.Policy); p != "" && !slices.Contains([]string{"ALL", "QUORUM", "ANY", "ASYNC"}, p) {
		report("load.policy", "found %q, want ALL, QUORUM, ANY or ASYNC; leave it out for the keyspace's", l.Policy)
	}
}

func (s *Step) check(path string, report reporter) {
	switch n := s.count(); {
	case n == 0:
		report(path, "does nothing; a step has one of the keys switchover, failover, stop, kill, start, cut, link, heal, wait, wait_for, verify")
		return
	case n > 1:
		report(path, "does %d things; make a step of each, in their order", n)
		return
	}
	switch s.kind() {
	case "cut":
		s.Cut.check(path+".cut", report)
	case "link":
		s.Link.check(path+".link", report)
	case "heal":
		if s.Heal != healAll {
			report(path+".heal", "found %q, want all: it heals every link", s.Heal)
		}
	case "wait":
		if s.Wait < 0 {
			report(path+".wait", "is %s, want more than 0", s.Wait)
		}
	case "wait_for":
		if known := []string{untilHealthy, untilDetected, untilHome, untilConverged}; !slices.Contains(known, s.WaitFor) {
			report(path+".wait_for", "found %q, want one of %s", s.WaitFor, strings.Join(known, ", "))
		}
	case "verify":
		if s.Verify != verifyDigest {
			report(path+".verify", "found %q, want digest", s.Verify)
		}
	}
}

func (p Pair) check(path string, report reporter) {
	if p.A == "" || p.B == "" || p.A == p.B {
		report(path, "found a: %q and b: %q, want two datacenters, such as {a: us-east, b: eu-west}", p.A, p.B)
	}
}

func (l *Link) check(path string, report reporter) {
	Pair{l.A, l.B}.check(path, report)
	if l.Loss != "" {
		report(path+".loss", "can't be had: the links of a dev cluster carry TCP streams, of which nothing is lost; use rtt and bandwidth")
	}
	if _, err := dev.ParseChange(l.words()); err != nil {
		report(path, "%s", err)
	}
}

func (o *Objectives) check(report reporter) {
	for _, d := range []struct {
		key   string
		limit *time.Duration
	}{
		{"write_pause", o.WritePause}, {"error_window", o.ErrorWindow}, {"detect", o.Detect}, {"rto", o.RTO}, {"stale_reads", o.StaleReads},
	} {
		if d.limit != nil && *d.limit < 0 {
			report("objectives."+d.key, "is %s, want 0 or more", *d.limit)
		}
	}
	for _, n := range []struct {
		key   string
		limit *int
	}{{"acknowledged_lost", o.AcknowledgedLost}, {"at_risk", o.AtRisk}} {
		if n.limit != nil && *n.limit < 0 {
			report("objectives."+n.key, "is %d, want 0 or more", *n.limit)
		}
	}
}

// fits finds what is wrong with a scenario in a cluster of so many datacenters: that it would remember too much.
func (s *Scenario) fits(dcs int) error {
	if n := float64(s.Load.Rate*dcs) * s.TimeLimit.Seconds(); n > maxWrites {
		return fmt.Errorf("%w: %d writes a second in %d datacenters for up to %s are %.0f writes to remember, more than %d; lower load.rate or time_limit",
			ErrScenario, s.Load.Rate, dcs, s.TimeLimit, n, maxWrites)
	}
	return nil
}
