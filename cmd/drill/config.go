package drill

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"geogate/cmd/dev"
	"geogate/configs"
)

// Faults breaks a cluster, and says how broken it is.
type Faults interface {
	State(ctx context.Context) (dev.State, error)
	Link(ctx context.Context, a, b string, words []string) (dev.LinkState, error)
	Do(ctx context.Context, dc string, a dev.Action) (string, error)
}

var _ Faults = (*dev.Client)(nil)

// Config is one drill.
type Config struct {
	Scenario *Scenario
	Topology *configs.Topology // where the datacenters answer
	// Dial makes an etcd client of these addresses, with these options besides its own; the drill closes it.
	Dial   func(addresses []string, options ...grpc.DialOption) (*clientv3.Client, error)
	Faults Faults // of a dev cluster; nil elsewhere

	Prefix string // takes the place of the scenario's; "" does not
	Anyway bool   // begin although the precheck found something
	Keep   bool   // leave the probes' keys where they are

	// Progress is told what the drill does, one line each, from several goroutines; nil: nobody is.
	Progress func(string)
}

func (c Config) withDefaults() Config {
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c
}

func (c *Config) validate() error {
	if c.Scenario == nil || c.Topology == nil || c.Dial == nil {
		return errors.New("a drill needs a scenario, a topology and a way to dial")
	}
	if len(c.Topology.DataNames()) == 0 {
		return errors.New("the topology has no datacenter with data")
	}
	if c.Faults != nil {
		return nil
	}
	for i := range c.Scenario.Steps {
		if s := &c.Scenario.Steps[i]; s.needsDev() {
			return fmt.Errorf("%w: steps[%d] of scenario %s is %q, which only `geogate dev` can do; elsewhere use steps that switch over and wait, "+
				"or start a dev cluster and name its folder with --dev", ErrNeedsDev, i, c.Scenario.Name, s)
		}
	}
	return nil
}
