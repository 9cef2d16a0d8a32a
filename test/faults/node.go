//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"geogate/configs"
	"geogate/test/etcdbin/process"
	"geogate/test/faults/check"
	"geogate/test/wan"
)

// node is one geogate process, running or not, in a network namespace of its own.
type node struct {
	dc   string
	spec configs.Node
	site *wan.Site
	log  string
	args []string // program and arguments

	mu      sync.Mutex
	cmd     *exec.Cmd     // guarded by mu, as below; nil when not running
	gone    chan struct{} // closed when cmd has ended
	killed  bool          // by us: its end is no news
	mayEnd  bool          // by itself: its disk is full
	endings []string      // ends by itself that may not be
	used    check.Usage
}

func (n *node) String() string { return n.dc + "/" + n.spec.Name }

// start runs the process unless it runs already.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return nil
	}
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // the child has its own descriptor
	cmd := exec.Command(n.args[0], n.args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for us alone
	if err := n.site.Start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", n, err)
	}
	gone := make(chan struct{})
	n.cmd, n.gone, n.killed = cmd, gone, false
	go func() {
		defer close(gone)
		err := cmd.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		n.cmd = nil
		if !n.killed && !n.mayEnd {
			n.endings = append(n.endings, fmt.Sprintf("%s ended by itself: %v; the end of its log:\n%s", n, err, tail(n.log)))
		}
	}()
	return nil
}

// configure makes the next start use another topology.
func (n *node) configure(file string) { n.args[slices.Index(n.args, "--config")+1] = file }

// kill is kill -9, and returns when the process is gone.
func (n *node) kill() { n.finish(syscall.SIGKILL) }

// stopWithin is how long a process may take to stop before it is killed.
const stopWithin = 20 * time.Second

// finish ends the process and returns when it is gone.
func (n *node) finish(s syscall.Signal) {
	n.mu.Lock()
	n.measureLocked()
	gone := n.gone
	if n.cmd == nil {
		n.mu.Unlock()
		return
	}
	n.killed = true
	cmd := n.cmd
	_ = cmd.Process.Signal(s) // it may have ended just now
	n.mu.Unlock()
	select {
	case <-gone:
	case <-time.After(stopWithin):
		_ = cmd.Process.Kill() // as above
		<-gone
	}
}

func (n *node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil
}

// signal sends a signal to the process if there is one.
func (n *node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(s) // it may have ended just now
	}
}

// allowEnd says whether the process may end by itself from now on.
func (n *node) allowEnd(may bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mayEnd = may
}

// unexpected are the ends that nothing explains.
func (n *node) unexpected() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.endings
}

// measure notes what the node uses now, and returns the most it ever used.
func (n *node) measure() check.Usage {
	disk := diskUsage(n.spec.Dir)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.measureLocked()
	n.used.DiskBytes = max(n.used.DiskBytes, disk)
	n.used.Node = n.String()
	return n.used
}

func (n *node) measureLocked() {
	if n.cmd == nil {
		return
	}
	if u, err := process.UsageOf(n.cmd.Process.Pid); err == nil { // it may have ended just now
		n.used.RSSBytes = max(n.used.RSSBytes, u.PeakRSSBytes)
	}
}

// now is the memory that the process has, 0 when there is none.
func (n *node) now() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	u, err := process.UsageOf(n.cmd.Process.Pid)
	if err != nil {
		return 0 // it ended just now
	}
	return u.RSSBytes
}

// diskUsage is what the files of a folder occupy, our ballast aside.
func diskUsage(dir string) (bytes uint64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == ballast {
			return nil // files come and go
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() {
			bytes += uint64(st.Blocks) * 512
		}
		return nil
	})
	return bytes
}

// tail is the end of a log.
func tail(path string) string {
	const most = 3000
	text := whole(path)
	return strings.TrimSpace(text[max(0, len(text)-most):])
}

// whole is all of a log; a node that never ran has none.
func whole(path string) string {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return string(b)
}

// crashes finds panics and the runtime's fatal errors in a log.
func crashes(path string) (out []string, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for line := range bytes.Lines(b) {
		for _, word := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE"} {
			if bytes.HasPrefix(line, []byte(word)) {
				out = append(out, fmt.Sprintf("%s: %s", filepath.Base(path), bytes.TrimSpace(line)))
			}
		}
	}
	return out, err
}
