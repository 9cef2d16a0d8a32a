package main

import (
	"runtime"
	"testing"
	"time"
)

func TestCoresFollowTheWork(t *testing.T) {
	c := &cores{n: 4, all: func() int { return 4 }, set: func(int) {}}
	for i, step := range []struct {
		busy  float64
		looks int
		want  int
	}{
		{0.1, idleLooks - 1, 4}, // not long enough
		{0.1, 1, 3},
		{0.1, 2 * idleLooks, 1},
		{0.6, 100, 1},
		{0.8, 1, 4}, // at once
		{1.6, 100, 4},
		{1.4, idleLooks, 3},
		{1.4, 100, 3},
		{0.9, idleLooks - 1, 3},
		{1.4, 1, 3}, // not in a row
		{0.9, idleLooks, 2},
		{2, 1, 4},
	} {
		for range step.looks {
			c.look(step.busy)
		}
		if c.n != step.want {
			t.Errorf("step %d: %d cores, want %d", i, c.n, step.want)
		}
	}
}

// TestCoresAreSaved: a process with little to do goes down to one core, gets all of them when it is busy, and in the end.
func TestCoresAreSaved(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	all := runtime.GOMAXPROCS(0)
	if all < 2 {
		t.Skip("there is one core")
	}
	defer runtime.SetDefaultGOMAXPROCS()
	end := saveCores()
	eventually := func(what string, want int, meanwhile func()) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); runtime.GOMAXPROCS(0) != want; meanwhile() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d cores, want %d", what, runtime.GOMAXPROCS(0), want)
			}
		}
	}
	rest := func() { time.Sleep(coresInterval / 4) } // nothing to wait for: this is the little that there is to do
	eventually("little to do", 1, rest)
	eventually("much to do", all, func() {
		for begin := time.Now(); time.Since(begin) < coresInterval; {
			runtime.Gosched()
		}
	})
	eventually("little to do again", 1, rest)
	end()
	if n := runtime.GOMAXPROCS(0); n != all {
		t.Errorf("%d cores after the end, want %d", n, all)
	}
}

func TestCoresAsGOMAXPROCSSays(t *testing.T) {
	t.Setenv("GOMAXPROCS", "3")
	before := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(before)
	end := saveCores()
	defer end()
	time.Sleep(2 * coresInterval) // in which nothing may happen
	if n := runtime.GOMAXPROCS(0); n != 3 {
		t.Errorf("%d cores although GOMAXPROCS says 3", n)
	}
}
