package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"geogate/configs"
)

// plain are the tags with which make build builds. See TestUnusedCodeIsLeftOut for what they are for.
const plain = "grpcnotrace"

var (
	build       = sync.OnceValues(func() (string, error) { return buildWith(plain) })
	buildClocks = sync.OnceValues(func() (string, error) { return buildWith("faults") })
)

func binaryPath(tags string) string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("geogate-test-%d%s", os.Getpid(), tags))
}

func buildWith(tags string) (string, error) {
	_, self, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(self), "..", "..")
	bin := binaryPath(tags)
	out, err := exec.Command("go", "build", "-C", root, "-tags", tags, "-o", bin, "./cmd/geogate").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build ./cmd/geogate: %w\n%s", err, out)
	}
	return bin, nil
}

// Binary builds geogate once for the test process. [Main] removes it.
func Binary(t testing.TB) string { return binary(t, false) }

// binary is the program, or with clocks the build of it whose clock tests can set.
func binary(t testing.TB, clocks bool) string {
	t.Helper()
	bin, err := "", error(nil)
	if clocks {
		bin, err = buildClocks()
	} else {
		bin, err = build()
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Main runs the tests of a package that uses [Binary], and cleans up behind it.
func Main(m *testing.M) int {
	defer os.Remove(binaryPath(plain))
	defer os.Remove(binaryPath("faults"))
	return m.Run()
}

// Process is one node, running or not.
type Process struct {
	t      testing.TB
	bin    string
	config string
	DC     string
	Spec   configs.Node
	log    string

	mu   sync.Mutex
	cmd  *exec.Cmd // guarded by mu, as below; nil when not running
	gone chan struct{}
	err  error // how the last run ended
}

func newProcess(t testing.TB, bin, config, dc string, spec configs.Node) *Process {
	p := &Process{t: t, bin: bin, config: config, DC: dc, Spec: spec, log: filepath.Join(filepath.Dir(config), dc+"-"+spec.Name+".log")}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s/%s:\n%s", dc, spec.Name, logTail(p.log))
		}
	})
	return p
}

// Start runs the process, with flags of its own if need be; it must not be running.
func (p *Process) Start(flags ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.t.Fatalf("%s/%s is running already", p.DC, p.Spec.Name)
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(p.bin, append([]string{"serve", "--config", p.config, "--dc", p.DC, "--node", p.Spec.Name}, flags...)...)
	cmd.Stdout, cmd.Stderr = out, out
	started := make(chan error)
	gone := make(chan struct{})
	go func() {
		// Pdeathsig is tied to the thread that starts the child: this one stays until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		_ = out.Close()
		p.mu.Lock()
		p.err, p.cmd = err, nil
		p.mu.Unlock()
		close(gone)
	}()
	if err := <-started; err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.gone = cmd, gone
}

// Running says whether the process is there.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// PID is the process's id, 0 when it is not running.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill is kill -9; it returns when the process is gone. A process that is not running is left alone.
func (p *Process) Kill() { _ = p.signal(syscall.SIGKILL, 10*time.Second) }

// Stop asks the process to stop and returns how it ended.
func (p *Process) Stop() error { return p.signal(syscall.SIGTERM, 20*time.Second) }

func (p *Process) signal(sig syscall.Signal, within time.Duration) error {
	p.mu.Lock()
	cmd, gone := p.cmd, p.gone
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-gone:
	case <-time.After(within):
		return fmt.Errorf("%s/%s did not end within %s of %s", p.DC, p.Spec.Name, within, sig)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// WaitExit waits until the process ends by itself.
func (p *Process) WaitExit(within time.Duration) (log string, err error) {
	p.t.Helper()
	p.mu.Lock()
	gone := p.gone
	p.mu.Unlock()
	select {
	case <-gone:
	case <-time.After(within):
		p.t.Fatalf("%s/%s still runs after %s", p.DC, p.Spec.Name, within)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return logTail(p.log), p.err
}
