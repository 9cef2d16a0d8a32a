package etcdbin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// path is where the tool is in the cache; it is built there first if it is missing.
func (t tool) path(ctx context.Context) (string, error) {
	module, err := t.source()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder for %s: %w", t.name, err)
	}
	key, err := cacheKey(module)
	if err != nil {
		return "", err
	}
	return buildOnce(ctx, filepath.Join(cache, "geogate", "tools", key), t.name, func(ctx context.Context, out string) error {
		return t.build(ctx, module, out)
	})
}

// buildOnce is the path of a program in dir that build makes there, unless it or somebody else already has.
// Whoever comes while it is being made waits.
func buildOnce(ctx context.Context, dir, name string, build func(ctx context.Context, out string) error) (string, error) {
	out := filepath.Join(dir, name)
	if exists(out) {
		return out, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a cache folder for %s: %w", name, err)
	}
	unlock, err := lock(ctx, out+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(out) { // built while we waited
		return out, nil
	}
	// Under another name until it is whole, so that a build that is cut off leaves nothing that runs.
	partial := out + ".partial"
	if err := build(ctx, partial); err != nil {
		return "", err
	}
	if err := os.Rename(partial, out); err != nil {
		return "", fmt.Errorf("put %s into the cache: %w", name, err)
	}
	return out, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (t tool) build(ctx context.Context, module, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-C", module, "-trimpath", "-o", out, t.pkg)
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s from %s: %w\n%s", ErrBuild, t.pkg, module, err, text)
	}
	return nil
}

// source is the folder of the module that pins the tool: tests and benches run somewhere in the source tree.
func (t tool) source() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSource, err)
	}
	marker := filepath.Join("test", "tools", "etcd", "go.mod")
	for dir := start; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, marker)) {
			return filepath.Join(dir, t.module), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%w: no %s in %s or above it; run it from a checkout", ErrNoSource, marker, start)
		}
	}
}

// cacheKey is another one for each set of versions, Go included.
func cacheKey(module string) (string, error) {
	h := sha256.New()
	_, _ = fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH) // a hash does not fail
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(module, name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w: %w", ErrNoSource, err)
		}
		if err != nil {
			return "", fmt.Errorf("read the pinned versions: %w", err)
		}
		_, _ = h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}
