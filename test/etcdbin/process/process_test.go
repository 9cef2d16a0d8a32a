package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// parentEnv makes this test binary a parent that starts a child, prints its pid and hangs.
const parentEnv = "PROCESS_TEST_PARENT_LOG"

func TestMain(m *testing.M) {
	if log := os.Getenv(parentEnv); log != "" {
		p, err := Start(context.Background(), Config{Name: "child", Path: "sleep", Args: []string{"600"}, Log: log})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(p.PID())
		<-p.Done()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func shell(ctx context.Context, t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(ctx, Config{
		Name: "script", Path: "sh", Args: []string{"-c", script}, Env: []string{"WORD=hello"},
		Log: filepath.Join(t.TempDir(), "log"), StopTimeout: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	return p
}

// says waits until the process has logged the word, so that it is known to be that far.
func says(t *testing.T, p *Process, word string) {
	t.Helper()
	err := p.WaitReady(t.Context(), func(context.Context) error {
		if !strings.Contains(p.LogTail(), word) {
			return errors.New("has not said " + word)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestStopEndsAndReaps(t *testing.T) {
	p := shell(t.Context(), t, `echo "$WORD"; exec sleep 600`)
	says(t, p, "hello")
	if err := p.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if !gone(p.PID()) {
		t.Errorf("process %d is still there", p.PID())
	}
	if err := p.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

func TestContextEndsTheProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := shell(ctx, t, `exec sleep 600`)
	cancel()
	<-p.Done()
	if err := p.Err(); err != nil {
		t.Errorf("Err = %v, want nil: it was told to end", err)
	}
}

func TestDeafProcessIsKilledAndReported(t *testing.T) {
	p := shell(t.Context(), t, `trap "" TERM; echo deaf; while :; do sleep 0.05; done`)
	says(t, p, "deaf")
	if err := p.Stop(); !errors.Is(err, ErrKilled) {
		t.Errorf("Stop = %v, want ErrKilled", err)
	}
	if !gone(p.PID()) {
		t.Errorf("process %d is still there", p.PID())
	}
}

func TestEndByItselfIsAnErrorWithTheLog(t *testing.T) {
	p := shell(t.Context(), t, `echo no disk >&2; exit 3`)
	<-p.Done()
	err := p.Err()
	if err == nil || !strings.Contains(err.Error(), "no disk") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Err = %v, want the exit status and the log", err)
	}
	ready := p.WaitReady(t.Context(), func(context.Context) error { return errors.New("never") })
	if !errors.Is(ready, ErrNotReady) {
		t.Errorf("WaitReady = %v, want ErrNotReady", ready)
	}
}

func TestTakenAddressIsTold(t *testing.T) {
	p := shell(t.Context(), t, `echo "listen tcp: bind: address already in use"; exit 1`)
	err := p.WaitReady(t.Context(), func(context.Context) error { return errors.New("never") })
	if !errors.Is(err, ErrAddress) {
		t.Errorf("WaitReady = %v, want ErrAddress", err)
	}
}

func TestMissingProgram(t *testing.T) {
	_, err := Start(t.Context(), Config{Name: "nothing", Path: "/does/not/exist", Log: filepath.Join(t.TempDir(), "log")})
	if err == nil || !strings.Contains(err.Error(), "start nothing") {
		t.Errorf("Start = %v, want an error that names the server", err)
	}
}

func TestChildDiesWithAKilledParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"="+filepath.Join(t.TempDir(), "log"))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	limit := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !goneOrZombie(child) { // whoever adopts the child reaps it, in its own time
		select {
		case <-tick.C:
		case <-limit:
			_ = syscall.Kill(child, syscall.SIGKILL)
			t.Fatalf("child %d outlived its parent", child)
		}
	}
}

func goneOrZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestPortsAreDifferentAndFree(t *testing.T) {
	ports, err := Ports(20)
	if err != nil {
		t.Fatal(err)
	}
	first, err := PortRange(20)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		ports = append(ports, first+i)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] {
			t.Errorf("port %d twice", p)
		}
		seen[p] = true
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			t.Error(err)
			continue
		}
		defer l.Close()
	}
	if len(ports) != 40 {
		t.Errorf("%d ports, want 40", len(ports))
	}
}

// A range is one without gaps, whatever others use in between.
func TestPortRangeIsWithoutGaps(t *testing.T) {
	first, err := PortRange(3)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+5)) // in the middle of those that come next
	if err != nil {
		t.Skipf("somebody has taken port %d: %v", first+5, err)
	}
	defer l.Close()
	next, err := PortRange(6)
	if err != nil {
		t.Fatal(err)
	}
	if next <= first+5 && first+5 < next+6 {
		t.Errorf("ports %d to %d, and %d is taken", next, next+5, first+5)
	}
}

// TestPortsAreNotGivenTwice: processes that ask at the same time get different ones.
func TestPortsAreNotGivenTwice(t *testing.T) {
	const calls, each = 20, 10
	given := make(chan []int, calls)
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			ports, err := Ports(each)
			if err != nil {
				t.Error(err)
			}
			given <- ports
		})
	}
	wg.Wait()
	close(given)
	seen := map[int]bool{}
	for ports := range given {
		for _, p := range ports {
			if seen[p] {
				t.Errorf("port %d twice", p)
			}
			seen[p] = true
		}
	}
	if len(seen) != calls*each {
		t.Errorf("%d ports, want %d", len(seen), calls*each)
	}
}

func TestUsageGrowsWithWork(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.PeakRSSBytes < 1<<20 {
		t.Errorf("peak RSS %d bytes, want that of a whole program", before.PeakRSSBytes)
	}
	limit := time.Now().Add(10 * time.Second)
	for n := uint64(1); ; n = n*6364136223846793005 + 1 {
		if n%(1<<16) != 1 {
			continue
		}
		after, err := UsageOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after.CPUSeconds > before.CPUSeconds {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("CPU time stays at %g s", after.CPUSeconds)
		}
	}
}
