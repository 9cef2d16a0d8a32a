package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// onDisk refuses a folder whose fsync costs nothing.
func onDisk(dir string) error {
	abs, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("%w: --dir: %w", errUsage, err)
	}
	if abs, err = filepath.Abs(abs); err != nil {
		return fmt.Errorf("%w: --dir: %w", errUsage, err)
	}
	mounts, err := procfs.GetMounts()
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	var mount, kind string
	for _, m := range mounts { // the last one at a place is the one on top
		under := abs == m.MountPoint || strings.HasPrefix(abs, strings.TrimSuffix(m.MountPoint, "/")+"/")
		if under && len(m.MountPoint) >= len(mount) {
			mount, kind = m.MountPoint, m.FSType
		}
	}
	if slices.Contains([]string{"tmpfs", "ramfs"}, kind) {
		return fmt.Errorf("%w: --dir %s is in memory (%s at %s), where fsync does nothing; name a folder on a disk", errUsage, dir, kind, mount)
	}
	return nil
}

const (
	syncProbes     = 100
	syncProbeBytes = 4 << 10
)

// syncTime is the median time of appending 4 KiB and calling fsync in dir, so that a reader knows the disk.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return 0, fmt.Errorf("measure fsync: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer func() { _ = f.Close() }()
	block := make([]byte, syncProbeBytes)
	took := make([]time.Duration, syncProbes)
	for i := range took {
		begin := time.Now()
		if _, err = f.Write(block); err == nil {
			err = f.Sync()
		}
		if err != nil {
			return 0, fmt.Errorf("measure fsync: %w", err)
		}
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
