package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"geogate/configs"
)

// Action is what can be done to a datacenter.
type Action string

// The actions.
const (
	Start Action = "start" // of one that is stopped or killed, on the data that it had
	Stop  Action = "stop"  // cleanly
	Kill  Action = "kill"  // as a power cut would
)

// The states of a datacenter.
const (
	Running = "running"
	Stopped = "stopped"
	Killed  = "killed"
)

// datacenter is all nodes of one site.
type datacenter struct {
	name   string
	nodes  []string
	open   func(node string) (Node, error)
	failed func(err error) // is told when a node ends that nobody stopped
	logger *slog.Logger

	acting sync.Mutex // one action at a time

	mu      sync.Mutex
	state   string
	running []*process
}

// process is one running node.
type process struct {
	name string
	node Node
	stop context.CancelFunc
	done chan struct{} // closed when Run has returned
}

func newDatacenter(d *configs.Datacenter, open func(node string) (Node, error), failed func(error), logger *slog.Logger) *datacenter {
	dc := &datacenter{name: d.Name, open: open, failed: failed, logger: logger, state: Stopped}
	for _, n := range d.Nodes {
		dc.nodes = append(dc.nodes, n.Name)
	}
	return dc
}

// status is the state now.
func (d *datacenter) status() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// do performs an action and returns when it is complete. Starting is complete when the nodes run; electing
// a leader takes them a moment more.
func (d *datacenter) do(a Action) error {
	d.acting.Lock()
	defer d.acting.Unlock()
	running := d.status() == Running
	switch {
	case a == Start && running:
		return fmt.Errorf("%w: %s runs already", ErrState, d.name)
	case a == Start:
		return d.start()
	case a != Stop && a != Kill:
		return fmt.Errorf("%w action %q; use stop, kill or start", ErrUnknown, a)
	case !running:
		return fmt.Errorf("%w: %s is %s already", ErrState, d.name, d.status())
	}
	d.end(a)
	return nil
}

func (d *datacenter) start() error {
	var opened []Node
	for _, name := range d.nodes {
		n, err := d.open(name)
		if err != nil {
			for _, n := range opened { // running it for no time closes what it opened
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				err = errors.Join(err, ignoreCanceled(n.Run(ctx)))
			}
			return fmt.Errorf("open node %s of %s: %w", name, d.name, err)
		}
		opened = append(opened, n)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.running = Running, nil
	for i, n := range opened {
		ctx, cancel := context.WithCancel(context.Background())
		p := &process{name: d.nodes[i], node: n, stop: cancel, done: make(chan struct{})}
		d.running = append(d.running, p)
		go d.run(ctx, p)
	}
	return nil
}

func (d *datacenter) run(ctx context.Context, p *process) {
	defer close(p.done)
	err := p.node.Run(ctx)
	switch {
	case d.status() == Killed: // a crash has no clean ending
		d.logger.Debug("killed node ended", "dc", d.name, "node", p.name, "err", err)
	case ctx.Err() == nil && err == nil:
		d.failed(fmt.Errorf("node %s of %s ended by itself", p.name, d.name))
	case ignoreCanceled(err) != nil:
		d.failed(fmt.Errorf("node %s of %s: %w", p.name, d.name, err))
	}
}

// end stops or kills all nodes at the same time and waits until they are gone.
func (d *datacenter) end(a Action) {
	d.mu.Lock()
	d.state = Stopped
	if a == Kill {
		d.state = Killed
	}
	running := d.running
	d.running = nil
	d.mu.Unlock()
	for _, p := range running {
		if a == Kill {
			p.node.Kill()
		} else {
			p.stop()
		}
	}
	for _, p := range running {
		<-p.done
		p.stop()
	}
}

// ignoreCanceled drops the error of a stop that was asked for.
func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
