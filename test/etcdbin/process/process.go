package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const defaultStopTimeout = 10 * time.Second

// Config describes a server. Fields without a stated default are required.
type Config struct {
	Name        string        // in errors
	Path        string        // of the program
	Args        []string      // without the program's name
	Env         []string      // KEY=value, added to the parent's
	Log         string        // file that stdout and stderr are appended to
	StopTimeout time.Duration // from SIGTERM to SIGKILL; 0 means 10 s
}

// Process is a server that was started. It is gone when Done is closed.
type Process struct {
	name string
	log  string
	pid  int
	stop context.CancelFunc
	done chan struct{}
	err  error // how it ended; set before done is closed
}

// ErrKilled marks a server that did not end in time when it was told to, and was killed.
var ErrKilled = errors.New("did not stop in time and was killed")

// Start starts the server. It is stopped by Stop or when ctx ends.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	log, err := os.OpenFile(cfg.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", cfg.Name, err)
	}
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, cfg.Path, cfg.Args...)
	cmd.Env = append(os.Environ(), cfg.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = cmp.Or(cfg.StopTimeout, defaultStopTimeout)

	p := &Process{name: cfg.Name, log: cfg.Log, stop: stop, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer func() { _ = log.Close() }() // the child has its own descriptor
		defer stop()
		p.keep(ctx, cmd, started)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	return p, nil
}

// keep starts the child and waits for it, on one thread: the kernel sends a child its parent-death signal
// when the thread that made it ends, and Go ends threads as it likes.
func (p *Process) keep(ctx context.Context, cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	err = cmd.Wait()
	switch status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus); {
	case ctx.Err() == nil:
		p.err = fmt.Errorf("%s ended by itself: %w; the end of its log:\n%s", p.name, cmp.Or(err, errors.New("exit status 0")), p.LogTail())
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		p.err = fmt.Errorf("%s: %w; the end of its log:\n%s", p.name, ErrKilled, p.LogTail())
	}
	close(p.done)
}

// PID is the process id.
func (p *Process) PID() int { return p.pid }

// Name is the name it was given.
func (p *Process) Name() string { return p.name }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why it ended. It is nil while it runs, and when it was told to end and did so in time.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop tells the process to end and waits until it has. It may be called more than once.
func (p *Process) Stop() error {
	p.stop()
	<-p.done
	return p.err
}

// StopAll stops processes at the same time, as a cluster is shut down.
func StopAll(all []*Process) error {
	for _, p := range all {
		p.stop()
	}
	var errs []error
	for _, p := range all {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}
