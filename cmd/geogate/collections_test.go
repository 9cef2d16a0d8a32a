package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercentOf(t *testing.T) {
	for inUse, want := range map[uint64]int{
		0: 800, 1 << 20: 800, 2 << 20: 600, 3 << 20: 400, 6 << 20: 200, 10 << 20: 120, 12 << 20: 100, 17 << 20: 100, 1 << 30: 100,
	} {
		if got := percentOf(inUse); got != want {
			t.Errorf("of %d bytes: %d %%, want %d", inUse, got, want)
		}
	}
}

// With little in use the percentage rises above Go's own, with much it is Go's own.
func TestCollectionsAreSpaced(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(usualPercent)
	defer debug.SetGCPercent(before)
	percent := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	eventually := func(what string, ok func(uint64) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(percent()); runtime.GC() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d %%", what, percent())
			}
		}
	}
	end := spaceCollections()
	eventually("little in use", func(p uint64) bool { return p > usualPercent })
	much := make([]byte, 2*leastGarbage)
	eventually("much in use", func(p uint64) bool { return p == usualPercent })
	runtime.KeepAlive(much)
	eventually("little in use again", func(p uint64) bool { return p > usualPercent })
	end()
	debug.SetGCPercent(50)
	for range 5 {
		runtime.GC()
	}
	if p := percent(); p != 50 {
		t.Errorf("%d %% after the end", p)
	}
}

func TestCollectionsAsGOGCSays(t *testing.T) {
	t.Setenv("GOGC", "100")
	before := debug.SetGCPercent(usualPercent)
	defer debug.SetGCPercent(before)
	defer spaceCollections()()
	for range 5 {
		runtime.GC()
	}
	if p := debug.SetGCPercent(usualPercent); p != usualPercent {
		t.Errorf("%d %% although GOGC says %d", p, usualPercent)
	}
}
