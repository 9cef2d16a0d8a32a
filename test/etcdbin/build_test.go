package etcdbin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestBuildOnceForAllCallers(t *testing.T) {
	dir := t.TempDir()
	var builds atomic.Int32
	build := func(_ context.Context, out string) error {
		builds.Add(1)
		return os.WriteFile(out, []byte("program"), 0o700)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, err := buildOnce(t.Context(), dir, "tool", build)
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != "program" {
				t.Errorf("read %s: %q, %v", path, b, err)
			}
		})
	}
	wg.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

func TestFailedBuildLeavesNothingThatRuns(t *testing.T) {
	dir, broken := t.TempDir(), errors.New("broken")
	_, err := buildOnce(t.Context(), dir, "tool", func(_ context.Context, out string) error {
		return errors.Join(broken, os.WriteFile(out, []byte("half"), 0o700))
	})
	if !errors.Is(err, broken) {
		t.Fatalf("err = %v, want the build's", err)
	}
	if exists(filepath.Join(dir, "tool")) {
		t.Error("half a program stands in the cache")
	}
	path, err := buildOnce(t.Context(), dir, "tool", func(_ context.Context, out string) error {
		return os.WriteFile(out, []byte("whole"), 0o700)
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "whole" {
		t.Errorf("after the second build: %q, %v", b, err)
	}
}

func TestWaitingForALockEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("lock held by another: %v, want context.Canceled", err)
	}
	unlock()
	again, err := lock(t.Context(), path)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	again()
}

func TestKeyFollowsThePinnedVersions(t *testing.T) {
	key := func(mod string) string {
		dir := t.TempDir()
		for name, text := range map[string]string{"go.mod": mod, "go.sum": "sums"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k, err := cacheKey(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if a, b := key("v1"), key("v1"); a != b {
		t.Errorf("keys of the same versions: %s and %s", a, b)
	}
	if a, b := key("v1"), key("v2"); a == b {
		t.Errorf("two versions share the key %s", a)
	}
}

func TestOutsideTheSourceTree(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Etcd(t.Context()); !errors.Is(err, ErrNoSource) {
		t.Errorf("err = %v, want ErrNoSource", err)
	}
}
