package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"geogate/cmd/dev"
	"geogate/test/etcdbin/process"
)

// session is one `geogate dev` in this process.
type session struct {
	lines chan string // of stdout, closed at its end
	stop  func() (code int, stderr string)
}

func startDev(t *testing.T, args ...string) *session {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"dev"}, args...), w, &errs)
		_ = w.Close()
	}()
	s := &session{lines: make(chan string, 100)}
	go func() {
		defer close(s.lines)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			s.lines <- scan.Text()
		}
	}()
	s.stop = sync.OnceValues(func() (int, string) {
		cancel()
		select {
		case c := <-code:
			return c, errs.String()
		case <-time.After(time.Minute):
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			t.Error("dev did not stop within a minute; its goroutines are above")
			return -1, ""
		}
	})
	t.Cleanup(func() { _, _ = s.stop() })
	return s
}

// ready reads the endpoints up to the line that says ready.
func (s *session) ready(t *testing.T) []string {
	t.Helper()
	timeout := time.After(time.Minute)
	var lines []string
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				code, errs := s.stop()
				t.Fatalf("dev ended with %d before it was ready: %q, %s", code, lines, errs)
			}
			if line == "ready" {
				return lines
			}
			lines = append(lines, line)
		case <-timeout:
			_, errs := s.stop()
			t.Fatalf("dev was not ready in a minute: %q, %s", lines, errs)
		}
	}
}

// port is the first of many that are free.
func port(t *testing.T, dcs int) int {
	t.Helper()
	first, err := process.PortRange(100 * dcs)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// TestDev runs real nodes: two datacenters, a change of the link, a kill, and the same folder again.
func TestDev(t *testing.T) {
	dir, base := t.TempDir(), port(t, 2)
	args := []string{"--dir", dir, "--dcs", "us-east,eu-west", "--base-port", fmt.Sprint(base), "--rtt", "4ms"}
	s := startDev(t, args...)
	lines := s.ready(t)
	if len(lines) != 3 || strings.Join(strings.Fields(lines[0]), " ") != "DC NODE CLIENT RAFT ADMIN NATS" {
		t.Errorf("endpoints: %q", lines)
	}
	want := fmt.Sprintf("eu-west n0 127.0.0.1:%d 127.0.0.1:%d 127.0.0.1:%d 127.0.0.1:%d", base+100, base+101, base+102, base+103)
	if got := strings.Join(strings.Fields(lines[len(lines)-1]), " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	if code, _, errs := geogate(t, append([]string{"dev"}, args...)...); code != exitFailed || !strings.Contains(errs, "another process runs the cluster in "+dir) {
		t.Errorf("a second dev: exit %d, %q", code, errs)
	}
	client, admin := fmt.Sprintf("127.0.0.1:%d", base), fmt.Sprintf("127.0.0.1:%d", base+2)
	if code, out, errs := geogate(t, "bench", "put", "--endpoints", client, "--total", "50", "--clients", "5", "--policy", "ALL"); code != exitDone {
		t.Errorf("bench: exit %d, %q, %q", code, out, errs)
	}
	code, out, errs := geogate(t, "status", "--endpoint", admin, "-o", "json")
	var status struct{ DC, Leader string }
	if err := json.Unmarshal([]byte(out), &status); err != nil || code != exitDone || status.DC != "us-east" || status.Leader != "n0" {
		t.Errorf("status: exit %d, %q, %q", code, out, errs)
	}

	code, out, errs = geogate(t, "dev", "link", "eu-west", "us-east", "cut", "rtt=6ms", "--dir", dir, "-o", "json")
	var link dev.LinkState
	if err := json.Unmarshal([]byte(out), &link); err != nil || code != exitDone || !link.Cut || link.RTTMillis != 6 {
		t.Errorf("link: exit %d, %q, %q", code, out, errs)
	}
	if code, _, errs = geogate(t, "dev", "link", "eu-west", "mars", "cut", "--dir", dir); code != exitFailed || !strings.Contains(errs, "unknown link eu-west mars") {
		t.Errorf("unknown link: exit %d, %q", code, errs)
	}
	if code, out, errs = geogate(t, "dev", "dc", "eu-west", "kill", "--dir", dir); code != exitDone || !strings.Contains(out, "killed") {
		t.Errorf("kill: exit %d, %q, %q", code, out, errs)
	}
	code, errs = s.stop()
	t.Log(errs)
	if code != exitDone {
		t.Errorf("stop: exit %d", code)
	}

	s = startDev(t, "--dir", dir)
	if again := s.ready(t); len(again) != 3 || again[2] != lines[2] {
		t.Errorf("resumed as %q, was %q", again, lines)
	}
	if code, errs := s.stop(); code != exitDone {
		t.Errorf("stop: exit %d, %q", code, errs)
	}
}
