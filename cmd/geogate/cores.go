package main

import (
	"os"
	"runtime"
	"syscall"
	"time"
)

const (
	// coresInterval is between two looks at how much CPU time the process has used.
	coresInterval = 200 * time.Millisecond
	// busyShare of the cores in use is more than a process can do with them well: it gets all there are.
	busyShare = 0.7
	// idleShare of the cores that would be left is little enough to do with one less, when it has been so for idleLooks.
	idleShare = 0.5
	idleLooks = 10
)

// cores keeps a process on as few cores as its work needs. Go looks for idle cores whenever a goroutine can go on: threads are woken
// that find the work done when they come, and wake others. A node that passes small requests on, from goroutine to goroutine, spends
// a fifth to a third of its CPU time on that, and the cores that it shares with others.
type cores struct {
	all  func() int // sets and returns as many as Go would use
	set  func(n int)
	used func() time.Duration // CPU time of the process so far

	n     int // in use
	quiet int // looks in a row that found one core less to be enough
}

// saveCores works until end is called, unless GOMAXPROCS says how many cores are to be used.
func saveCores() (end func()) {
	if os.Getenv("GOMAXPROCS") != "" || runtime.NumCPU() == 1 {
		return func() {}
	}
	c := &cores{all: allCores, set: func(n int) { runtime.GOMAXPROCS(n) }, used: cpuTime, n: runtime.GOMAXPROCS(0)}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		c.run(stop)
		c.all()
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// allCores follows the limits of the process's control group, too.
func allCores() int {
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(0)
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func (c *cores) run(stop <-chan struct{}) {
	ticker := time.NewTicker(coresInterval)
	defer ticker.Stop()
	at, before := time.Now(), c.used()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		now, used := time.Now(), c.used()
		c.look(float64(used-before) / float64(now.Sub(at)))
		at, before = now, used
	}
}

// look decides by how many cores' time was used since the last look.
func (c *cores) look(busy float64) {
	switch {
	case busy > busyShare*float64(c.n):
		c.n, c.quiet = c.all(), 0
	case c.n > 1 && busy < idleShare*float64(c.n-1):
		if c.quiet++; c.quiet >= idleLooks {
			c.n, c.quiet = c.n-1, 0
			c.set(c.n)
		}
	default:
		c.quiet = 0
	}
}
