package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
)

// A program that has forgotten its start holds less of its file in memory, and goes on.
func TestForgetStartup(t *testing.T) {
	const inChild = "GEOGATE_TEST_FORGET"
	if os.Getenv(inChild) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestForgetStartup$") //nolint:gosec // this program
		cmd.Env = append(os.Environ(), inChild+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	before := fileMemory(t)
	if err := forgetStartup(); err != nil {
		t.Fatal(err)
	}
	after := fileMemory(t)
	if after > before/2 {
		t.Errorf("%d bytes of the file in memory, %d before", after, before)
	}
	if s := fmt.Sprint(newSorted()); s != "[1 2 3]" { // code and tables are still there
		t.Error(s)
	}
}

func newSorted() []int {
	s := []int{3, 1, 2}
	slices.Sort(s)
	return s
}

func fileMemory(t *testing.T) uint64 {
	t.Helper()
	p, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return s.RssFile
}

func TestUntouched(t *testing.T) {
	const smaps = `00400000-01464000 r-xp 00000000 fe:00 77 /usr/bin/geogate
Size:              16784 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
01464000-02a45000 r--p 01064000 fe:00 77 /usr/bin/geogate
Anonymous:             0 kB
02a45000-02a46000 r--p 02645000 fe:00 77 /usr/bin/geogate
Anonymous:             4 kB
02a46000-02b55000 rw-p 02646000 fe:00 77 /usr/bin/geogate
Anonymous:             0 kB
7f1200000000-7f1200021000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f1200100000-7f1200200000 r--s 00000000 fe:00 78 /var/lib/geogate/data.db
Anonymous:             0 kB
`
	got, err := untouched(strings.NewReader(smaps), "/usr/bin/geogate")
	if err != nil {
		t.Fatal(err)
	}
	if want := []span{{0x400000, 0x1464000}, {0x1464000, 0x2a45000}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x: what can't be written to and was not", got, want)
	}
}
