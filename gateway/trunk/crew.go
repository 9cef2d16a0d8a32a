package trunk

import "sync"

// restingWorkers bounds the goroutines of a stream that wait for its next calls.
const restingWorkers = 128

// crew runs the calls of a stream on goroutines that it keeps: a new one for each call would grow its stack each time,
// which costs more than the rest of its start.
type crew struct {
	running *sync.WaitGroup
	serve   func(task)

	mu      sync.Mutex
	resting []chan task // guarded by mu: of the workers without a task, the one that rests shortest last
	ended   bool        // guarded by mu
}

// run serves a task at once.
func (c *crew) run(t task) {
	c.mu.Lock()
	if n := len(c.resting); n > 0 {
		worker := c.resting[n-1]
		c.resting = c.resting[:n-1]
		c.mu.Unlock()
		worker <- t
		return
	}
	c.mu.Unlock()
	c.running.Go(func() { c.work(t) })
}

func (c *crew) work(t task) {
	tasks := make(chan task, 1) // so that run never waits
	for more := true; more; t, more = <-tasks {
		c.serve(t)
		if !c.rest(tasks) {
			return
		}
	}
}

// rest says whether a worker should wait for another task.
func (c *crew) rest(tasks chan task) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || len(c.resting) >= restingWorkers {
		return false
	}
	c.resting = append(c.resting, tasks)
	return true
}

// end lets the workers go, each after the task that it has.
func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, tasks := range c.resting {
		close(tasks)
	}
	c.resting = nil
}
