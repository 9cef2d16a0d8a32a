package homes

import (
	"fmt"
	"slices"
)

// Voter is a datacenter with an acceptor.
type Voter struct {
	DC      string
	Witness bool // votes, holds no data
}

// Config is what all moves of a process share.
type Config struct {
	// Self is the datacenter of this process.
	Self string
	// Voters are all datacenters, this one included, the same everywhere. Adding or removing one at a time keeps
	// majorities overlapping; two at a time does not.
	Voters []Voter
	// MaxPast bounds the tenures in a value; a move that needs more is refused until every datacenter has caught
	// up. 0 means 256 (some 8 KiB).
	MaxPast int
}

const defaultMaxPast = 256

func (c *Config) validate() error {
	if c.MaxPast == 0 {
		c.MaxPast = defaultMaxPast
	}
	names := map[string]bool{}
	for _, v := range c.Voters {
		if v.DC == "" || names[v.DC] {
			return fmt.Errorf("%w: name %q is empty or there twice: name every datacenter once", ErrConfig, v.DC)
		}
		names[v.DC] = true
	}
	switch {
	case !names[c.Self]:
		return fmt.Errorf("%w: %q is not among them: add it", ErrConfig, c.Self)
	case c.MaxPast < 1:
		return fmt.Errorf("%w: room for %d past tenures: want 1 or more", ErrConfig, c.MaxPast)
	case c.data() == 0:
		return fmt.Errorf("%w: all of them are witnesses: at least one must hold data", ErrConfig)
	}
	return nil
}

// Majority is how many voters decide.
func (c *Config) Majority() int { return len(c.Voters)/2 + 1 }

func (c *Config) data() int {
	n := 0
	for _, v := range c.Voters {
		if !v.Witness {
			n++
		}
	}
	return n
}

// Reports is how many datacenters with data must tell their watermark before a cut is chosen. With D of them a
// write under QUORUM is in D/2+1, so D - D/2 of them always include one that has it, however many witnesses vote.
func (c *Config) Reports() int { return c.data() - c.data()/2 }

func (c *Config) witness(dc string) bool {
	return slices.Contains(c.Voters, Voter{DC: dc, Witness: true})
}

func (c *Config) votes(dc string) bool {
	return slices.ContainsFunc(c.Voters, func(v Voter) bool { return v.DC == dc })
}
