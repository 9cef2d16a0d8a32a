//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const workPrefix = "geogate-faults-"

// makeWorkDir makes the folder of this run, named after the process, and removes those of runs that died: a
// run that was killed can't do so itself. Its namespaces and processes went with it.
func makeWorkDir(parent string) (string, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	stale, err := filepath.Glob(filepath.Join(parent, workPrefix+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range stale {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), workPrefix), "-")
		pid, err := strconv.Atoi(text)
		if err != nil || alive(pid) {
			continue // not ours, or in use
		}
		if err := removeWorkDir(dir); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(parent, fmt.Sprintf("%s%d-", workPrefix, os.Getpid()))
}

// alive says whether a process is there and is more than what its parent has yet to collect.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// removeWorkDir removes a run's folder, and the mounts in it first.
func removeWorkDir(dir string) error {
	mounts, err := mountsUnder(dir)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	return os.RemoveAll(dir)
}

func mountsUnder(dir string) (out []string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		const mountPoint = 4
		fields := strings.Fields(lines.Text())
		if len(fields) > mountPoint && strings.HasPrefix(fields[mountPoint], dir+"/") {
			out = append(out, fields[mountPoint])
		}
	}
	return out, lines.Err()
}

// mountSmall puts a file system of its own, in memory, on a folder.
func mountSmall(dir string, bytes int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=700", bytes)); err != nil {
		return fmt.Errorf("mount a small file system on %s: %w", dir, err)
	}
	return nil
}
