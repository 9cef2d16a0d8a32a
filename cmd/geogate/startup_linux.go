package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// forgetStartup takes the program's own pages out of this process's memory. Most of the code and the tables that a node touches on
// its start it never needs again, and what it does need comes back from the page cache at the next touch. A kernel with too little
// memory would do the same; one with enough leaves the pages there, and counts them as this process's for as long as it runs.
// See madvise(2), MADV_DONTNEED.
func forgetStartup() error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("read this process's memory map: %w", err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	spans, err := untouched(f, program)
	if err != nil {
		return fmt.Errorf("read this process's memory map: %w", err)
	}
	for _, s := range spans {
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED); e != 0 {
			return fmt.Errorf("forget the program's pages from %x to %x: %w", s.from, s.to, e)
		}
	}
	return nil
}

// span is a range of addresses; to is the first one behind it.
type span struct{ from, to uintptr }

// untouched are the parts of a file in a map as of /proc/self/smaps that can't be written to and never were: what a linker's
// relocations changed would be lost.
func untouched(smaps io.Reader, file string) ([]span, error) {
	var out []span
	var s span
	candidate := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"): // 00400000-01464000 r-xp 00000000 08:02 173521 /bin/x
			candidate = len(fields) == 6 && fields[5] == file && !strings.Contains(fields[1], "w")
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &s.from, &s.to); candidate && err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
		case candidate && len(fields) == 3 && fields[0] == "Anonymous:": // Anonymous: 0 kB
			candidate = false
			if fields[1] == "0" {
				out = append(out, s)
			}
		}
	}
	return out, lines.Err()
}
